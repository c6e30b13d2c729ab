"""Reading metrics.jsonl, of a run that may still be writing it or was killed while it did."""

import math
from pathlib import Path
from typing import NamedTuple

import msgspec

from ttt_config import CheckpointError


class LoggedStep(msgspec.Struct, frozen=True, kw_only=True, tag="step", tag_field="event"):
    """An `events.StepRecord` as it is found: a number that was not finite is None."""

    step: int
    loss: float | None = None
    """Nats a token."""
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None


class LoggedEval(msgspec.Struct, frozen=True, kw_only=True, tag="eval", tag_field="event"):
    """An `events.EvalRecord` as it is found: a number that was not finite is None."""

    step: int
    val_loss: float | None = None
    """Nats a token."""
    val_loss_error: float | None = None
    val_bpb: float | None = None
    """Bits a byte."""
    inner_loss_before: float | None = None
    inner_loss_after: float | None = None


class Metrics(NamedTuple):
    """What a run logged, each in the order of the steps, a step once."""

    steps: list[LoggedStep]
    evals: list[LoggedEval]


def read_metrics(path: Path) -> Metrics:
    """Read the records of a run.

    A last line without its end is passed over: it was cut short, or is being written. If a step
    was logged twice, the later record counts.

    Args:
        path: of metrics.jsonl; a run that has logged nothing has none.

    Raises:
        CheckpointError: the file cannot be read, or a line that has its end is no record.
    """
    steps: dict[int, LoggedStep] = {}
    evals: dict[int, LoggedEval] = {}
    *lines, _ = read_lines(path)
    for number, line in enumerate(lines, start=1):
        try:
            record = msgspec.json.decode(line, type=LoggedStep | LoggedEval)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{path} line {number} is damaged: {error}; remove the line to read the others"
            ) from error
        if isinstance(record, LoggedStep):
            steps[record.step] = record
        else:
            evals[record.step] = record
    return Metrics(
        [record for _, record in sorted(steps.items())],
        [record for _, record in sorted(evals.items())],
    )


def read_lines(path: Path) -> list[bytes]:
    """Read the lines of a file without their ends; the last is what follows the last line end.

    Args:
        path: of a file that need not be there.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [b""]
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def perplexity(loss: float | None) -> float | None:
    """Return exp(loss), infinite where that is too large for a float."""
    if loss is None:
        return None
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
