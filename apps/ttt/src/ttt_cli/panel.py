"""The live panel of `ttt train`: where a run stands, rewritten in place on a terminal.

The figures are those of the last record, so the panel costs the training nothing between two; only
the time left runs on. What stays true (the start, checkpoints, warnings, the end) is printed above
as lines.
"""

import math
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ttt_cli.train_report import describe
from ttt_training.events import EvalRecord, RunStarted, StepRecord, TrainEvent, TrainResult
from ttt_training.metrics import duration, inner_gain, seconds_left

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*%#"
"""For terminals of another encoding than UTF-8."""

_HISTORY = 24
"""Losses in the curve."""

_UNKNOWN = "-"


class TrainPanel:
    """Shows the events of a run; a context manager that leaves the terminal as it was.

    Args:
        console: where; None: standard output, taken for a terminal.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(force_terminal=True, markup=False, highlight=False)
        self._start: RunStarted | None = None
        self._step: StepRecord | None = None
        self._stepped_s = 0.0
        self._eval: EvalRecord | None = None
        self._losses: deque[float] = deque(maxlen=_HISTORY)
        self._live = self._new_live()

    def __enter__(self) -> "TrainPanel":
        with suppress(ValueError):  # only the main thread may; in another, Ctrl-Z stops as it is
            if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
                signal.signal(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if signal.getsignal(signal.SIGTSTP) == self._suspend:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def _new_live(self) -> Live:
        # Rendered twice a second, so that the time left and the width are true between records.
        return Live(console=self._console, get_renderable=self._render, refresh_per_second=2)

    def _suspend(self, number: int, _: FrameType | None) -> None:
        """Leave the terminal to the shell at Ctrl-Z; draw the panel anew when the run goes on."""
        shown = self._live.is_started
        self._live.stop()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # comes back at SIGCONT
        signal.signal(number, self._suspend)
        if shown:
            self._live = self._new_live()  # one that does not go back over what the shell wrote
            self._live.start(refresh=True)

    def __call__(self, event: TrainEvent) -> None:
        """Show an event."""
        match event:
            case StepRecord():
                self._step, self._stepped_s = event, time.monotonic()
                if math.isfinite(event.loss):
                    self._losses.append(event.loss)
                self._live.refresh()
            case EvalRecord():
                self._eval = event
                self._live.refresh()
            case RunStarted():
                self._start = event
                self._print(event)
                self._live.start()
            case TrainResult():
                self._live.stop()
                self._print(event)
            case _:
                self._print(event)

    def _print(self, event: TrainEvent) -> None:
        steps = self._start.steps if self._start else 0
        self._console.print(describe(event, steps), soft_wrap=True)

    def _render(self) -> RenderableType:
        if self._start is None:
            return ""
        parts = Table.grid(expand=True)
        parts.add_row(self._progress(self._start))
        parts.add_row(self._figures())
        return Panel(parts, title=Text(self._start.out), title_align="left")

    def _progress(self, start: RunStarted) -> Table:
        """The bar, the steps and the time left."""
        taken, eta = 0, _UNKNOWN
        if self._step is not None:
            taken = self._step.step
            left_s = seconds_left(self._step, total_steps=start.steps)
            eta = duration(max(left_s - (time.monotonic() - self._stepped_s), 0))
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_column(no_wrap=True)
        bar = ProgressBar(total=start.steps, completed=taken)
        row.add_row(bar, f"step {taken:,}/{start.steps:,}", f"ETA {eta}")
        return row

    def _figures(self) -> Table:
        """Everything else, in two columns of names and values."""
        table = Table.grid(expand=True, padding=(0, 1))
        for ratio in (None, 3, None, 2):
            table.add_column(ratio=ratio, no_wrap=True, style=None if ratio else "dim")
        step, validation = _step_figures(self._step), _eval_figures(self._eval)
        curve = sparkline(self._losses, ascii_only=self._console.options.ascii_only)
        rows = [
            ("loss", f"{step['loss']}  {curve}", "tokens/s", step["tokens/s"]),
            ("val loss", validation["val loss"], "perplexity", validation["perplexity"]),
            ("inner loss", validation["inner loss"], "data wait", step["data wait"]),
            ("lr", step["lr"], "memory", step["memory"]),
            ("grad norm", step["grad norm"], "bits/byte", validation["bits/byte"]),
        ]
        for row in rows:
            table.add_row(*row)
        return table


def _step_figures(record: StepRecord | None) -> dict[str, str]:
    if record is None:
        names = ("loss", "lr", "grad norm", "tokens/s", "data wait", "memory")
        return dict.fromkeys(names, _UNKNOWN)
    return {
        "loss": f"{record.loss:.4f}",
        "lr": f"{record.lr:.2e}",
        "grad norm": f"{record.grad_norm:.3f}",
        "tokens/s": f"{record.tokens_per_s:,.0f}",
        "data wait": f"{record.data_time_s * 1e3:.1f} ms a step",
        "memory": f"{record.peak_memory_bytes / 2**30:.2f} GiB",
    }


def _eval_figures(record: EvalRecord | None) -> dict[str, str]:
    if record is None:
        return dict.fromkeys(("val loss", "perplexity", "bits/byte", "inner loss"), _UNKNOWN)
    return {
        "val loss": f"{record.val_loss:.4f} +- {record.val_loss_error:.4f}  (step {record.step:,})",
        "perplexity": f"{record.val_ppl:.2f}",
        "bits/byte": f"{record.val_bpb:.4f}",
        "inner loss": inner_gain(record) or _UNKNOWN,
    }


def sparkline(values: Sequence[float], *, ascii_only: bool) -> str:
    """Draw values as a row of bars, the least as the lowest and the largest as the highest."""
    if not values:
        return ""
    bars = _ASCII_BARS if ascii_only else _BARS
    low, high = min(values), max(values)
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((value - low) * scale)] for value in values)
