"""Where the numbers of a run go: metrics.jsonl, the caller, sinks, a line on the console."""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from types import TracebackType
from typing import NamedTuple

import msgspec

from ttt_training.events import EvalRecord, RunWarning, StepRecord, TrainEvent
from ttt_training.run_dir import RunDir
from ttt_training.sinks import GuardedSink


class Reporter:
    """Appends every event to metrics.jsonl or events.jsonl and hands it to the caller and sinks.

    Each line is one unbuffered write, so a killed run has lost none, and whoever follows the
    files sees each at once. A full disk does not stop a run, nor does a sink that fails: what
    could not be written is told once, as a warning.

    Args:
        run: whose files are appended to.
        on_event: the caller, told of every event.
        sinks: where the numbers go as well; closed at the end.
    """

    def __init__(
        self,
        run: RunDir,
        on_event: Callable[[TrainEvent], None] | None,
        sinks: Sequence[GuardedSink] = (),
    ) -> None:
        self._metrics = run.metrics.open("ab", buffering=0)
        self._events = run.events.open("ab", buffering=0)
        self._on_event = on_event
        self._sinks = sinks
        self._step = 0
        self._told = False

    def __call__(self, event: TrainEvent) -> None:
        """Report one event."""
        self._step = getattr(event, "step", self._step)
        if isinstance(event, StepRecord | EvalRecord):
            self._append(self._metrics, msgspec.json.encode(event), event.step)
        else:
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            line = {"time": moment, **msgspec.to_builtins(event)}
            self._append(self._events, msgspec.json.encode(line), self._step)
        if self._on_event is not None:
            self._on_event(event)
        for sink in self._sinks:
            self._warn(sink.write(event))

    def _warn(self, problem: str | None) -> None:
        """Report the problem of a sink, if there is one; the sink has none a second time."""
        if problem is not None:
            self(RunWarning(step=self._step, message=problem))

    def _append(self, stream: FileIO, line: bytes, step: int) -> None:
        start = stream.tell()
        try:
            written, reason = stream.write(line + b"\n"), os.strerror(errno.ENOSPC)
        except OSError as error:
            written, reason = 0, str(error.strerror)
        if written == len(line) + 1:
            return
        with suppress(OSError):
            stream.truncate(start)  # no half line
        if not self._told and self._on_event is not None:
            self._told = True
            message = f"cannot write {stream.name}: {reason}; records are being lost"
            self._on_event(RunWarning(step=step, message=message))

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for sink in self._sinks:
                self._warn(sink.close())
        finally:
            self._metrics.close()
            self._events.close()


class Rates(NamedTuple):
    """What a `Throughput` measured."""

    tokens_per_s: float
    wait_s: float
    """Of a step, mean."""


class Throughput:
    """The speed of the steps since it was last asked; what lies between them does not count."""

    def __init__(self) -> None:
        self._steps = self._tokens = 0
        self._wait_s = self._seconds = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time the wait for a batch, which is part of the step."""
        started = time.perf_counter()
        yield
        waited_s = time.perf_counter() - started
        self._wait_s += waited_s
        self._seconds += waited_s

    @contextmanager
    def measure(self, tokens: int) -> Iterator[None]:
        """Time one step that reads so many tokens."""
        started = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - started
        self._tokens += tokens
        self._steps += 1

    def take(self) -> Rates:
        """Give the rates and begin again."""
        rates = Rates(self._tokens / self._seconds, self._wait_s / self._steps)
        self._steps = self._tokens = 0
        self._wait_s = self._seconds = 0.0
        return rates


def step_line(record: StepRecord, *, total_steps: int) -> str:
    """Write a step for the console, with the time left at its speed."""
    return (
        f"step {record.step:>{len(str(total_steps))}}/{total_steps}  loss {record.loss:.4f}  "
        f"lr {record.lr:.2e}  grad norm {record.grad_norm:.3f}  "
        f"{record.tokens_per_s:,.0f} tokens/s  data {record.data_time_s * 1e3:.1f} ms  "
        f"memory {record.peak_memory_bytes / 2**30:.2f} GiB  "
        f"ETA {duration(seconds_left(record, total_steps=total_steps))}"
    )


def seconds_left(record: StepRecord, *, total_steps: int) -> float:
    """Time the steps after a record take at its speed."""
    return (total_steps - record.step) * record.tokens / record.step / record.tokens_per_s


def eval_line(record: EvalRecord, *, total_steps: int) -> str:
    """Write an evaluation for the console."""
    gain = inner_gain(record)
    return (
        f"eval {record.step:>{len(str(total_steps))}}/{total_steps}  "
        f"val loss {record.val_loss:.4f} +- {record.val_loss_error:.4f}  "
        f"perplexity {record.val_ppl:.2f}  bits/byte {record.val_bpb:.4f}"
        + (f"  inner loss {gain}" if gain else "")
    )


def inner_gain(record: EvalRecord) -> str | None:
    """Write what the inner models gain by an update, `43.70 -> 42.01`; None if not measured."""
    if record.inner_loss_before is None or record.inner_loss_after is None:
        return None
    return f"{record.inner_loss_before:.2f} -> {record.inner_loss_after:.2f}"


def duration(seconds: float) -> str:
    """Write a time span the short way: `42s`, `3m07s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m"
