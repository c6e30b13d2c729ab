import sys
from pathlib import Path

import msgspec
import pytest

from ttt_training.events import CheckpointSaved, EvalRecord, StepRecord, TrainEvent
from ttt_training.metrics import Reporter, duration, eval_line, step_line
from ttt_training.run_dir import RunDir

STEP = StepRecord(
    step=10,
    loss=6.5,
    lr=1e-3,
    grad_norm=0.9,
    tokens=20_480,
    tokens_per_s=1024.0,
    data_time_s=0.0002,
    peak_memory_bytes=3 << 29,
)
EVAL = EvalRecord(step=10, val_loss=6.0, val_loss_error=0.02, val_ppl=403.4, val_bpb=2.4)


def test_records_are_on_disk_as_soon_as_they_are_reported(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with Reporter(run, None) as report:
        report(STEP)
        report(CheckpointSaved(step=10, path="runs/a/checkpoints/step-000010"))
        report(EVAL)
        lines = run.metrics.read_bytes().splitlines()
        (event,) = map(msgspec.json.decode, run.events.read_bytes().splitlines())
    records = [msgspec.json.decode(line, type=StepRecord | EvalRecord) for line in lines]
    assert records == [STEP, EVAL]
    assert msgspec.json.decode(lines[0]) == {
        "event": "step",
        "step": 10,
        "loss": 6.5,
        "lr": 1e-3,
        "grad_norm": 0.9,
        "tokens": 20_480,
        "tokens_per_s": 1024.0,
        "data_time_s": 0.0002,
        "peak_memory_bytes": 3 << 29,
    }
    assert (event["event"], event["step"], len(event["time"])) == ("checkpoint", 10, 25)


@pytest.mark.skipif(sys.platform == "darwin", reason="has no /dev/full")
def test_a_full_disk_is_told_once_and_loses_no_more_than_the_record(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.metrics.symlink_to("/dev/full")
    seen: list[TrainEvent] = []
    with Reporter(run, seen.append) as report:
        report(STEP)
        report(STEP)
        report(CheckpointSaved(step=10, path="x"))
    assert [type(event).__name__ for event in seen] == [
        "RunWarning",
        "StepRecord",
        "StepRecord",
        "CheckpointSaved",
    ]
    assert "No space left on device; records are being lost" in str(seen[0])
    assert len(run.events.read_bytes().splitlines()) == 1


def test_the_caller_gets_every_event(tmp_path: Path) -> None:
    seen: list[TrainEvent] = []
    saved = CheckpointSaved(step=10, path="x")
    with Reporter(RunDir(tmp_path), seen.append) as report:
        report(STEP)
        report(saved)
    assert seen == [STEP, saved]


def test_the_console_line_gives_the_time_left_at_the_present_speed() -> None:
    line = step_line(STEP, total_steps=300)  # 290 steps of 2048 tokens at 1024 tokens a second
    assert line == (
        "step  10/300  loss 6.5000  lr 1.00e-03  grad norm 0.900  1,024 tokens/s  data 0.2 ms  "
        "memory 1.50 GiB  ETA 9m40s"
    )


def test_the_line_of_an_evaluation_shows_what_inner_learning_gains() -> None:
    line = "eval  10/300  val loss 6.0000 +- 0.0200  perplexity 403.40  bits/byte 2.4000"
    assert eval_line(EVAL, total_steps=300) == line
    measured = msgspec.structs.replace(EVAL, inner_loss_before=43.7, inner_loss_after=42.006)
    assert eval_line(measured, total_steps=300) == f"{line}  inner loss 43.70 -> 42.01"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (187, "3m07s"), (7500, "2h05m")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
