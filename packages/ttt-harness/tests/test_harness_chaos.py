"""SIGKILL to the harness and to what it started, at random moments: nothing is lost or done twice.

Real trainings on the CPU; `TTT_CHAOS_REPORT` names a file that gets the figures.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ttt_harness.export import read_export
from ttt_harness.process import identify
from ttt_harness.store import Paths, Store

ZYGOTE = Path(__file__).parent / "helpers" / "harness_zygote.py"
NAMES = ("linear", "mlp", "adam", "seed")
RUNS = """
[defaults]
hidden_size = 16
num_layers = 1
num_heads = 1
intermediate_size = 16
seq_len = 16
mini_batch = 4
tokenizer = "bytes"
documents = 2
batch = 2
eval_samples = 2
kernel = "reference"
log_every = 1
save_every = 5
eval_every = 20
steps = {steps}

[[runs]]
name = "linear"
[[runs]]
name = "mlp"
layer_type = "mlp"
[[runs]]
name = "adam"
layer_type = "linear-adam"
[[runs]]
name = "seed"
seed = 1
"""
HARNESS = """
[harness]
total_vram_gb = 2.5
max_retries = 1000
retry_backoff_s = 0.05
"""
MEMORY_FOR_TWO = "memory_gb = 1.0"

Ask = Callable[..., int]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Have something done by a process that has imported torch already."""
    command = [sys.executable, str(ZYGOTE), str(tmp_path / "zygote.log")]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def order(**what: object) -> int:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield order
    process.communicate()


def records(run: Path) -> dict[tuple[str, int], dict[str, object]]:
    """What a run logged, without what depends on the time it took; each step must occur once."""
    found: dict[tuple[str, int], dict[str, object]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        key = (record["event"], record["step"])
        assert key not in found
        for name in ("tokens_per_s", "data_time_s", "peak_memory_bytes"):
            record.pop(name, None)
        found[key] = record
    return found


def alive(paths: Paths) -> list[int]:
    """Pids of the runs that go on, as the state has them."""
    with Store(paths.database) as store:
        handles = [run.handle for run in store.runs() if run.handle]
    identities = [json.loads(handle) for handle in handles]
    return [each[0] for each in identities if identify(each[0]) == tuple(each)]


def logged_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("runs/*/stdout.log"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kills", "steps"), [(3, 40), pytest.param(30, 250, marks=pytest.mark.slow)]
)
def test_no_run_is_lost_or_done_twice_whatever_is_killed(
    ask: Ask, tmp_path: Path, kills: int, steps: int
) -> None:
    dice = random.Random(kills)
    file = tmp_path / "harness.toml"
    runs = RUNS.format(steps=steps).replace("[defaults]", f"[defaults]\n{MEMORY_FOR_TWO}")
    file.write_text(HARNESS + runs)
    paths = Paths(tmp_path / "harness_state.json")

    killed_children = 0
    for _ in range(kills):
        pid = ask(harness=["run", "-c", str(file), "--quiet"])
        wait_for_lines(tmp_path, dice.choice([0, 2, 10, 30, 60]))
        time.sleep(dice.random() * 0.05)
        victims = [child for child in alive(paths) if dice.random() < 0.5] if exists(paths) else []
        for victim in (pid, *victims) if dice.random() < 0.5 else (*victims, pid):
            os.kill(victim, signal.SIGKILL)
        killed_children += len(victims)
        assert ask(wait=pid) == -signal.SIGKILL
    assert ask(wait=ask(harness=["run", "-c", str(file), "--quiet"])) == 0

    with Store(paths.database) as store:
        attempts = {name: store.attempts(name) for name in NAMES}
    for name in NAMES:
        causes = [attempt.cause for attempt in attempts[name]]
        assert causes.count("completed") == 1, causes
        assert set(causes) <= {"completed", "signal"}
        assert not (tmp_path / "runs" / name / "two-at-once").exists()
    assert [run.status for run in read_export(paths.export)] == ["completed"] * 4
    undisturbed(ask, tmp_path, runs)
    for name in NAMES:
        run, other = tmp_path / "runs" / name, tmp_path / "undisturbed" / name
        assert records(run) == records(other)
        last = f"checkpoints/step-{steps:06d}/model.safetensors"
        assert (run / last).read_bytes() == (other / last).read_bytes()
    begun = sum(map(len, attempts.values()))
    tell(
        f"ttt-harness: {kills} kills of the harness, {killed_children} of runs, {begun} attempts "
        "at 4 runs: each completed once, metrics and parameters those of undisturbed runs"
    )


def exists(paths: Paths) -> bool:
    return paths.export.exists()


def wait_for_lines(folder: Path, lines: int) -> None:
    """Wait until the runs have written so much more."""
    begun_s, before = time.monotonic(), logged_bytes(folder)
    while logged_bytes(folder) < before + lines * 100 and time.monotonic() < begun_s + 30:
        time.sleep(0.005)


def undisturbed(ask: Ask, folder: Path, runs: str) -> None:
    """Train the same runs without a harness."""
    from ttt_config import dump
    from ttt_harness.plan import load_plan

    file = folder / "plan.toml"
    file.write_text(runs)
    for run in load_plan(file).runs:
        config = folder / f"{run.name}.toml"
        config.write_text(dump(run.config))
        out = folder / "undisturbed" / run.name
        assert ask(train=["--config", str(config), "--out", str(out), "--quiet"]) == 0


def tell(text: str) -> None:
    """Give `make chaos` a figure."""
    if path := os.environ.get("TTT_CHAOS_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{text}\n")
