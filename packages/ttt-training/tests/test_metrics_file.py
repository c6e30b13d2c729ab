import math
from pathlib import Path

import pytest

from ttt_config import CheckpointError
from ttt_training.events import EvalRecord, RunStopped, StepRecord
from ttt_training.events_file import read_history
from ttt_training.metrics import Reporter
from ttt_training.metrics_file import perplexity, read_metrics
from ttt_training.run_dir import RunDir


def step_record(step: int, loss: float = 2.0) -> StepRecord:
    return StepRecord(
        step=step,
        loss=loss,
        lr=0.001 * step,
        grad_norm=1.5,
        tokens=64 * step,
        tokens_per_s=1000.0,
        data_time_s=0.0,
        peak_memory_bytes=1,
    )


def eval_record(step: int, loss: float = 2.0, error: float = 0.1) -> EvalRecord:
    return EvalRecord(
        step=step, val_loss=loss, val_loss_error=error, val_ppl=math.exp(loss), val_bpb=1.25
    )


def written(folder: Path, *records: StepRecord | EvalRecord | RunStopped) -> RunDir:
    run = RunDir(folder)
    with Reporter(run, None) as report:
        for record in records:
            report(record)
    return run


def test_what_the_trainer_writes_is_read_back(tmp_path: Path) -> None:
    run = written(tmp_path, step_record(1), eval_record(1), step_record(2, 1.5))
    steps, evals = read_metrics(run.metrics)
    assert [(each.step, each.loss, each.lr) for each in steps] == [(1, 2.0, 0.001), (2, 1.5, 0.002)]
    assert [(each.step, each.val_loss, each.val_bpb) for each in evals] == [(1, 2.0, 1.25)]


def test_numbers_that_are_not_finite_are_none(tmp_path: Path) -> None:
    run = written(tmp_path, step_record(1, math.nan), eval_record(1, error=math.nan))
    steps, evals = read_metrics(run.metrics)
    assert steps[0].loss is None
    assert (evals[0].val_loss, evals[0].val_loss_error) == (2.0, None)


def test_no_file_and_an_empty_file_hold_no_records(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == ([], [])
    assert read_metrics(written(tmp_path).metrics) == ([], [])


def test_a_last_line_cut_anywhere_is_passed_over(tmp_path: Path) -> None:
    run = written(tmp_path, step_record(1), eval_record(1))
    content = run.metrics.read_bytes()
    for end in range(len(content.splitlines(keepends=True)[0]), len(content)):
        run.metrics.write_bytes(content[:end])
        steps, evals = read_metrics(run.metrics)
        assert (len(steps), len(evals)) == (1, 0)


@pytest.mark.parametrize("damage", [b"\r", b"\xff", b"\0", b'{"event":"step"}', b""])
def test_a_broken_line_before_the_end_is_named(tmp_path: Path, damage: bytes) -> None:
    run = written(tmp_path, step_record(1), step_record(2), step_record(3))
    lines = run.metrics.read_bytes().split(b"\n")
    lines[1] = damage
    run.metrics.write_bytes(b"\n".join(lines))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl line 2 is damaged: .*; remove"):
        read_metrics(run.metrics)


def test_of_a_step_that_occurs_twice_the_last_record_counts(tmp_path: Path) -> None:
    run = written(tmp_path, step_record(1), step_record(3), step_record(2), step_record(1, 9.0))
    assert [(each.step, each.loss) for each in read_metrics(run.metrics).steps] == [
        (1, 9.0),
        (2, 2.0),
        (3, 2.0),
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        read_metrics(tmp_path)


def test_perplexity_never_overflows() -> None:
    assert perplexity(None) is None
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == math.inf


def test_history_survives_a_half_line_with_another_behind_it(tmp_path: Path) -> None:
    assert read_history(tmp_path / "events.jsonl") == (None, "unfinished", None)
    run = written(tmp_path, RunStopped(step=1, signal="SIGTERM"))
    half = run.events.read_bytes()[:30]
    run.events.write_bytes(half + run.events.read_bytes() * 2)
    assert read_history(run.events) == (None, "stopped", "SIGTERM")
