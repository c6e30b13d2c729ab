"""Damage, kills and full disks, in numbers: `make chaos` prints what came of them.

The small counts run by default, those of docs/reliability.md with the mark `slow`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ttt_config import CheckpointError, RunConfig, dump
from ttt_training import load_run, train, verify_checkpoint
from ttt_training.checkpoint import load_training_state
from ttt_training.checkpoint_files import committed_checkpoints
from ttt_training.events import RunWarning, TrainEvent
from ttt_training.optim import build_optimizer
from ttt_training.retention import list_checkpoints

ConfigMaker = Callable[..., RunConfig]

CHILD = Path(__file__).with_name("resume_child.py")
MANY = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = {"hidden_size": 16, "num_layers": 1, "intermediate_size": 16, "seq_len": 16, "documents": 2}


def tell(text: str) -> None:
    """Give `make chaos` a figure."""
    if path := os.environ.get("TTT_CHAOS_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{text}\n")


def break_one(path: Path, dice: random.Random) -> str:
    """Flip a bit of a file, cut it short, or delete it; say which."""
    content = path.read_bytes()
    kind = dice.choices(("flip", "cut", "delete"), weights=(8, 3, 1))[0]
    if kind == "flip":
        place = dice.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
    elif kind == "cut":
        path.write_bytes(content[: dice.randrange(len(content))])
    else:
        path.unlink()
    return kind


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=MANY)])
def test_damage_to_any_file_of_a_checkpoint_is_named_before_use(
    finished_run: Path, tmp_path: Path, count: int
) -> None:
    dice = random.Random(count)
    run = shutil.copytree(finished_run, tmp_path / "run")
    checkpoint = run / "checkpoints/step-000006"
    files = sorted(path.name for path in checkpoint.iterdir())
    assert len(files) == 5
    kinds: dict[str, int] = {}
    for number in range(count):
        path = checkpoint / files[number % len(files)]
        whole = path.read_bytes()
        kind = break_one(path, dice)
        kinds[kind] = kinds.get(kind, 0) + 1
        with pytest.raises(CheckpointError) as caught:
            load_run(checkpoint)
        assert path.name in str(caught.value)
        path.write_bytes(whole)
    model, _, config = load_run(checkpoint)
    load_training_state(checkpoint, model, build_optimizer(model, config.train))
    tell(f"damaged files of a checkpoint: {count} of {count} named before use, {kinds}")


@pytest.fixture
def forks() -> Iterator[Callable[..., int]]:
    """Train in a fork of a process that has imported torch already; give how it ended."""
    process = subprocess.Popen(
        [sys.executable, CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def run(config: RunConfig, **order: int) -> int:
        path = Path(config.out).with_suffix(".toml")
        path.write_text(dump(config))
        process.stdin.write(json.dumps({"config": str(path), **order}) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.communicate()


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=MANY)])
def test_a_kill_inside_a_save_leaves_no_partial_checkpoint(
    tiny: ConfigMaker, forks: Callable[..., int], tmp_path: Path, count: int
) -> None:
    dice = random.Random(count)
    config = tiny(tmp_path / "run", **SMALL, steps=10_000, save_every=1, eval_every=10_000)
    kills = seen = 0
    while kills < count:
        assert forks(config, kill_in_save=dice.randint(0, 40)) == -signal.SIGKILL
        kills += 1
        found = list_checkpoints(tmp_path / "run" / "checkpoints")
        assert [each for each in found if each.problem] == []
        seen += len(found)
    assert seen
    tell(f"kills inside a save: {kills}; partial checkpoints among {seen} seen: 0")


def limited(config: RunConfig, path: Path, limit_bytes: int) -> list[str]:
    """Train in a process whose files may not grow beyond a limit; return what it printed."""
    path.write_text(dump(config))
    code = (
        "import resource, sys\n"
        "from ttt_config import load\n"
        "from ttt_training import train\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "try:\n"
        "    train(load(sys.argv[1]), on_event=lambda event: print(event))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_size_limit_stops_no_step_and_spares_what_is_saved(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    config = tiny(tmp_path / "run", steps=6, save_every=2, log_every=1)
    printed = limited(config, tmp_path / "config.toml", 20_000)
    steps = [line for line in printed if line.startswith("StepRecord")]
    warnings = [line for line in printed if line.startswith("RunWarning")]
    assert len(steps) == 6
    assert len(warnings) == 2
    assert all("could not write" in line and "File too large" in line for line in warnings)
    assert printed[-1].startswith("CheckpointError could not write")
    assert committed_checkpoints(tmp_path / "run" / "checkpoints") == []
    assert list((tmp_path / "run" / "checkpoints").glob("*")) == []
    tell("file size limit: training went on, nothing partial was left")


def test_a_full_disk_stops_no_step_and_spares_what_is_saved(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        events: list[TrainEvent] = []
        filler = disk / "filler"

        def fill(event: TrainEvent) -> None:
            events.append(event)
            if getattr(event, "step", None) == 3 and not filler.exists():
                with pytest.raises(OSError, match="No space left"):
                    filler.write_bytes(b"x" * (8 << 20))

        config = tiny(disk / "run", steps=6, save_every=2, log_every=1)
        with pytest.raises(CheckpointError, match="No space left on device"):
            train(config, on_event=fill)
        warnings = [event.message for event in events if isinstance(event, RunWarning)]
        assert any("bytes and" in text and "are free: make room" in text for text in warnings)
        assert any("the run goes on without it" in text for text in warnings)
        (saved,) = committed_checkpoints(disk / "run" / "checkpoints")
        assert verify_checkpoint(saved).step == 2
        filler.unlink()
        before = torch.random.get_rng_state()
        assert train(config, resume="auto").steps == 6
        assert torch.equal(torch.random.get_rng_state(), before)
        tell("full disk: training went on, the earlier checkpoint was whole, resumed after")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
