import shutil
from pathlib import Path

import pytest
import torch

from ttt_config import (
    CheckpointCorruptError,
    CheckpointIncompleteError,
    CheckpointMismatchError,
    ConfigError,
)
from ttt_kernels import KernelUnavailableError
from ttt_training import generate, load_run


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return shutil.copytree(finished_run, tmp_path / "moved" / "elsewhere")


def text(path: Path) -> list[int]:
    model, tokenizer, _ = load_run(path)
    return list(generate(model, tokenizer.encode("The "), max_new_tokens=20))


@pytest.mark.parametrize("kernel", ["cpu", "reference", "auto"])
def test_any_kernel_reads_a_run(run: Path, kernel: str) -> None:
    model, tokenizer, config = load_run(run, kernel=kernel)
    assert config.model.inner.kernel == kernel
    written = list(generate(model, tokenizer.encode("The "), max_new_tokens=20))
    assert written == text(run)


def test_a_kernel_that_cannot_run_here_is_refused_before_weights_are_read(run: Path) -> None:
    (run / "checkpoints" / "step-000006" / "model.safetensors").write_bytes(b"")
    with pytest.raises(KernelUnavailableError, match=r"use kernel `auto`"):
        load_run(run, kernel="d2d-streaming")
    with pytest.raises(ConfigError, match="did you mean `tile`"):
        load_run(run, kernel="tile2")


def weights(path: Path) -> torch.Tensor:
    model, _, _ = load_run(path)
    return torch.nn.utils.parameters_to_vector(model.parameters())


def test_a_moved_run_writes_the_same_text(finished_run: Path, run: Path) -> None:
    assert text(run) == text(finished_run)


def test_a_run_is_its_latest_checkpoint(run: Path) -> None:
    checkpoints = run / "checkpoints"
    assert torch.equal(weights(checkpoints / "step-000006"), weights(run))
    assert not torch.equal(weights(checkpoints / "step-000003"), weights(run))


def test_paths_may_be_relative(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "checkpoints" / "step-000006")
    assert text(Path()) == text(run)


def test_the_model_is_ready_to_use_and_the_global_generator_untouched(run: Path) -> None:
    before = torch.random.get_rng_state()
    model, tokenizer, config = load_run(str(run))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not model.training
    assert config.model.vocab_size == tokenizer.vocab_size == model.vocab_size


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", r"no run directory .*nowhere"),
        ("config.toml", r"no run directory .*config\.toml"),
        ("empty", r"empty is not a run directory"),
        ("checkpoints/step-000009", r"no run directory"),
    ],
)
def test_what_is_no_run_is_said_plainly(run: Path, path: str, message: str) -> None:
    (run / "empty").mkdir()
    with pytest.raises(CheckpointIncompleteError, match=message):
        load_run(run / path)


@pytest.mark.parametrize("name", ["config.toml", "tokenizer.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(CheckpointIncompleteError, match=rf"{name} is missing"):
        load_run(run)


def test_a_run_killed_before_its_first_save_has_no_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointIncompleteError, match="stopped before its first save"):
        load_run(run)


def test_damaged_weights_are_named(run: Path) -> None:
    weights = run / "checkpoints/step-000006/model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(CheckpointCorruptError, match=r"model\.safetensors is damaged"):
        load_run(run)


def test_another_tokenizer_is_refused(run: Path) -> None:
    path = run / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(CheckpointMismatchError, match=r"tokenizer\.json is not the one"):
        load_run(run)


def test_another_model_table_is_refused_but_other_training_is_fine(run: Path) -> None:
    config = run / "config.toml"
    intact = config.read_text()
    config.write_text(intact.replace("steps = 6", "steps = 12"))
    assert load_run(run)[2].train.steps == 12
    config.write_text(intact.replace("rope_theta = 10000.0", "rope_theta = 500.0"))
    with pytest.raises(CheckpointMismatchError, match="the table `model` is not the one"):
        load_run(run)


def test_a_damaged_configuration_is_a_configuration_error(run: Path) -> None:
    (run / "config.toml").write_text("[model")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_run(run)
