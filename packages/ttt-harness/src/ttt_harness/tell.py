"""What `ttt-harness run` shows: lines, JSON lines, or a live table with lines above it."""

import json as json_module
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from ttt_harness.model import RunRecord
from ttt_harness.supervisor import Happening, Outcome
from ttt_harness.views import StateView, view_of

if TYPE_CHECKING:
    from ttt_harness.live import LiveTable

_TABLE_EVERY_S = 1.0


class Teller:
    """Tells what happens.

    Args:
        json: one object a line.
        quiet: only the end.
        live: a table to keep up, if there is one.
    """

    def __init__(self, *, json: bool, quiet: bool, live: "LiveTable | None") -> None:
        self._json, self._quiet, self._live = json, quiet, live
        self._shown_s = float("-inf")

    def happening(self, happening: Happening) -> None:
        """Tell what happened to a run."""
        if self._json:
            self._print_json({"event": "run", "time": time.time(), **happening._asdict()})
            return
        detail = f": {happening.detail}" if happening.detail else ""
        self._print(f"{time.strftime('%H:%M:%S')}  {happening.run}  {happening.what}{detail}")

    def note(self, text: str) -> None:
        """Tell what a user should know."""
        if self._json:
            self._print_json({"event": "note", "message": text})
        else:
            self._print(f"note: {text}")

    def estimating(self, done: int, of: int) -> None:
        """Tell how far the estimates of memory are."""
        if self._json:
            self._print_json({"event": "estimate", "done": done, "of": of})
        else:
            self._print(f"memory of {done} of {of} kinds of run estimated")

    def turn(self, runs: Iterable[RunRecord]) -> None:
        """Keep the table up."""
        now_s = time.monotonic()
        if self._live is not None and now_s - self._shown_s > _TABLE_EVERY_S:
            self._shown_s = now_s
            self._live.show(StateView(None, tuple(view_of(run) for run in runs)))

    def outcome(self, outcome: Outcome) -> None:
        """Tell what it came to."""
        if self._json:
            typer.echo(json_module.dumps({"event": "end", **outcome._asdict()}))
        else:
            counts = outcome.counts.items()
            typer.echo(", ".join(f"{count} {status}" for status, count in counts) or "no runs")

    def _print_json(self, values: dict[str, object]) -> None:
        if not self._quiet:
            typer.echo(json_module.dumps(values))

    def _print(self, line: str) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(line, soft_wrap=True)
        else:
            typer.echo(line)


@contextmanager
def open_teller(*, json: bool, quiet: bool) -> Iterator[Teller]:
    """What tells, in the way that the command line and the terminal ask for."""
    if json or quiet or not sys.stdout.isatty():
        yield Teller(json=json, quiet=quiet, live=None)
        return
    from ttt_harness.live import LiveTable  # rich takes a moment that only a terminal is worth

    with LiveTable() as live:
        yield Teller(json=False, quiet=False, live=live)


def count_on_stderr(*, quiet: bool) -> Callable[[int, int], None]:
    """Something that tells on stderr how far the estimates are."""

    def count(done: int, of: int) -> None:
        if not quiet:
            typer.echo(f"memory of {done} of {of} kinds of run estimated", err=True)

    return count
