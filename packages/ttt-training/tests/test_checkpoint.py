import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ttt_config import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointMismatchError,
)
from ttt_training.checkpoint import load_checkpoint, save_checkpoint
from ttt_training.checkpoint_files import latest_checkpoint, remove_checkpoints, verify_checkpoint
from ttt_training.manifest import FileEntry, RunIdentity, encode_manifest, read_manifest

RUN = RunIdentity(model_config_sha256="a" * 64, tokenizer_sha256="b" * 64)
FILES = ["model.safetensors", "manifest.json"]


def tiny_model(seed: int = 0, width: int = 4) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "checkpoints", tiny_model(), step=100, run=RUN)


def rewrite_file_names(checkpoint: Path, names: dict[str, str]) -> None:
    """Give the manifest other file names, with a valid hash of its own."""
    manifest = read_manifest(checkpoint)
    files = {names.get(name, name): entry for name, entry in manifest.files.items()}
    forged = msgspec.structs.replace(manifest, files=files)
    (checkpoint / "manifest.json").write_bytes(encode_manifest(forged))


def test_what_was_saved_is_loaded(checkpoint: Path) -> None:
    assert checkpoint.name == "step-000100"
    assert sorted(path.name for path in checkpoint.iterdir()) == sorted(FILES)
    other = tiny_model(seed=1)
    manifest = load_checkpoint(checkpoint, other)
    assert (manifest.step, manifest.run) == (100, RUN)
    for name, value in tiny_model().state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_the_manifest_lists_sizes_and_hashes_that_other_tools_can_check(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    entry = manifest["files"]["model.safetensors"]
    weights = checkpoint / "model.safetensors"
    summed = subprocess.run(["sha256sum", weights], capture_output=True, text=True, check=True)
    assert entry == {"bytes": weights.stat().st_size, "sha256": summed.stdout.split()[0]}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(FILES), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7)
)
def test_one_flipped_bit_anywhere_is_named_before_a_tensor_is_used(
    checkpoint: Path, name: str, position: float, bit: int
) -> None:
    path = checkpoint / name
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[int(position * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    model = tiny_model(seed=1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        with pytest.raises(CheckpointCorruptError, match=name):
            load_checkpoint(checkpoint, model)
    finally:
        path.write_bytes(intact)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kept", [0, 0.5, 0.999])
def test_a_file_cut_short_is_named(checkpoint: Path, kept: float) -> None:
    path = checkpoint / "model.safetensors"
    size = path.stat().st_size
    os.truncate(path, int(size * kept))
    expected = rf"model\.safetensors is cut short: {int(size * kept)} bytes; expected {size}"
    with pytest.raises(CheckpointIncompleteError, match=expected):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize("kept", [0, 0.5, 0.999])
def test_a_manifest_cut_short_is_named(checkpoint: Path, kept: float) -> None:
    path = checkpoint / "manifest.json"
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(CheckpointCorruptError, match=r"manifest\.json is damaged"):
        verify_checkpoint(checkpoint)


def test_bytes_added_to_a_file_are_named(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("ab") as weights:
        weights.write(b"x")
    with pytest.raises(CheckpointCorruptError, match=r"model\.safetensors is damaged: \d+ bytes"):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointIncompleteError, match=rf"{name} is missing"):
        verify_checkpoint(checkpoint)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/hostname", "a/b", "..", "", "c:d", "a\\b", "a\0b"]
)
def test_a_manifest_that_points_elsewhere_is_refused(checkpoint: Path, name: str) -> None:
    rewrite_file_names(checkpoint, {"model.safetensors": name})
    with pytest.raises(CheckpointCorruptError, match="only files beside the manifest"):
        verify_checkpoint(checkpoint)


def test_a_link_out_of_the_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointCorruptError, match="is a link"):
        verify_checkpoint(checkpoint)


def test_a_manifest_without_the_model_is_no_checkpoint(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "weights")
    rewrite_file_names(checkpoint, {"model.safetensors": "weights"})
    with pytest.raises(CheckpointIncompleteError, match=r"lists no model\.safetensors"):
        verify_checkpoint(checkpoint)


def test_a_checkpoint_under_the_name_of_another_step_is_refused(checkpoint: Path) -> None:
    renamed = checkpoint.rename(checkpoint.with_name("step-000200"))
    with pytest.raises(CheckpointMismatchError, match="step 100"):
        verify_checkpoint(renamed)


def test_a_copy_under_any_other_name_is_fine(checkpoint: Path) -> None:
    renamed = checkpoint.rename(checkpoint.with_name("best"))
    assert verify_checkpoint(renamed).files.keys() == {"model.safetensors"}
    assert isinstance(verify_checkpoint(renamed).files["model.safetensors"], FileEntry)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (tiny_model(width=5), r"`0.weight` is \(4, 3\) float32; the model expects \(5, 3\)"),
        (nn.Sequential(nn.Linear(3, 4)), "has `1.bias`, `1.weight`, which the model has not"),
        (nn.Sequential(*tiny_model(), nn.Linear(1, 1)), "lacks `2.bias`, `2.weight`"),
        (tiny_model().double(), "float32; the model expects .* float64"),
    ],
)
def test_tensors_of_another_model_are_named(
    checkpoint: Path, other: nn.Module, message: str
) -> None:
    with pytest.raises(CheckpointMismatchError, match=message):
        load_checkpoint(checkpoint, other)


def test_the_latest_is_the_highest_committed_step(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 20):
        save_checkpoint(tmp_path, tiny_model(), step=step, run=RUN)
    (tmp_path / "step-2000000.tmp").mkdir()
    (tmp_path / "step-notes").mkdir()
    assert latest_checkpoint(tmp_path).name == "step-1000000"


def test_no_checkpoint_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="stopped before its first save"):
        latest_checkpoint(tmp_path / "checkpoints")


def test_a_committed_checkpoint_is_never_written_again(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        save_checkpoint(checkpoint.parent, tiny_model(seed=1), step=100, run=RUN)
    load_checkpoint(checkpoint, tiny_model())


def test_a_refused_write_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("ttt_training.checkpoint.fsync", full)
    with pytest.raises(CheckpointError, match=r"step-000100: .*No space left"):
        save_checkpoint(tmp_path, tiny_model(), step=100, run=RUN)
    assert list(tmp_path.iterdir()) == []


def test_removing_checkpoints_spares_what_is_not_one(checkpoint: Path) -> None:
    (checkpoint.parent / "step-000200.tmp").mkdir()
    (checkpoint.parent / "notes.txt").write_text("mine")
    remove_checkpoints(checkpoint.parent)
    assert [path.name for path in checkpoint.parent.iterdir()] == ["notes.txt"]


# Saves checkpoints for ever in a child of its own for each directory named on stdin; importing
# torch once and forking makes a dozen kills cheap.
SAVER = """
import os, sys
from pathlib import Path
from torch import nn
from ttt_training.checkpoint import save_checkpoint
from ttt_training.manifest import RunIdentity

run = RunIdentity(model_config_sha256="a", tokenizer_sha256="b")
model = nn.Linear(1024, 1024)  # 4 MB, so that a good part of a save is not yet verifiable
for line in sys.stdin:
    directory, step = line.split()
    child = os.fork()
    if child == 0:
        while True:
            step = int(step) + 1
            save_checkpoint(Path(directory), model, step=step, run=run)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("reaped", flush=True)
"""


def test_a_kill_during_saves_never_leaves_a_partial_checkpoint(tmp_path: Path) -> None:
    delays = random.Random(0)
    newest = orphans = 0
    with subprocess.Popen(
        [sys.executable, "-c", SAVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as saver:
        assert saver.stdin is not None
        assert saver.stdout is not None
        for _ in range(12):
            saver.stdin.write(f"{tmp_path} {newest}\n")
            saver.stdin.flush()
            child = int(saver.stdout.readline())
            while not (tmp_path / f"step-{newest + 1:06d}").exists():
                time.sleep(0.001)
            time.sleep(delays.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert saver.stdout.readline() == "reaped\n"
            unfinished = set(tmp_path.glob("*.tmp"))
            orphans += len(unfinished)
            for committed in set(tmp_path.iterdir()) - unfinished:
                newest = max(newest, verify_checkpoint(committed).step)
                shutil.rmtree(committed)
    assert orphans, "no kill hit a save, so nothing was tested"
    assert len(unfinished) <= 1, "the next save sweeps what a kill left"
