"""Where the numbers of a run go: metrics.jsonl, the caller, a line each on the console."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import msgspec

from ttt_training.events import EvalRecord, StepRecord, TrainEvent


class Reporter:
    """Hands every event to the caller and appends the records among them to metrics.jsonl.

    Each line is one unbuffered write, so a killed run has lost none, and whoever follows the
    file sees each at once.
    """

    def __init__(self, metrics: Path, on_event: Callable[[TrainEvent], None] | None) -> None:
        self._stream = metrics.open("ab", buffering=0)
        self._on_event = on_event

    def __call__(self, event: TrainEvent) -> None:
        """Report one event."""
        if isinstance(event, StepRecord | EvalRecord):
            self._stream.write(msgspec.json.encode(event) + b"\n")
        if self._on_event is not None:
            self._on_event(event)

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()


class Throughput:
    """Tokens a second over the steps since it was last asked; what lies between does not count."""

    def __init__(self) -> None:
        self._tokens = 0
        self._seconds = 0.0

    @contextmanager
    def measure(self, tokens: int) -> Iterator[None]:
        """Time one step that reads so many tokens."""
        started = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - started
        self._tokens += tokens

    def take(self) -> float:
        """Give the rate and begin again."""
        rate = self._tokens / self._seconds
        self._tokens, self._seconds = 0, 0.0
        return rate


def step_line(record: StepRecord, *, total_steps: int) -> str:
    """Write a step for the console, with the time left at its speed."""
    tokens_left = (total_steps - record.step) * record.tokens / record.step
    return (
        f"step {record.step:>{len(str(total_steps))}}/{total_steps}  loss {record.loss:.4f}  "
        f"lr {record.lr:.2e}  grad norm {record.grad_norm:.3f}  "
        f"{record.tokens_per_s:,.0f} tokens/s  ETA {duration(tokens_left / record.tokens_per_s)}"
    )


def eval_line(record: EvalRecord, *, total_steps: int) -> str:
    """Write an evaluation for the console."""
    return (
        f"eval {record.step:>{len(str(total_steps))}}/{total_steps}  "
        f"val loss {record.val_loss:.4f}  perplexity {record.val_ppl:.2f}  "
        f"bits/byte {record.val_bpb:.4f}"
    )


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
