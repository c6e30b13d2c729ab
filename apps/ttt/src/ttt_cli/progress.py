"""A line that says how far something is: rewritten in place on a terminal, else now and then."""

import sys
import time
from collections.abc import Sequence

_EVERY_S = {True: 0.1, False: 10.0}
"""Pause between two lines, on a terminal and elsewhere."""


class ProgressLine:
    """Shows progress on stderr; a context manager that ends the line.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._width = 0
        self._last_s = -_EVERY_S[False]

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            print(file=sys.stderr)

    def show(self, text: str) -> None:
        """Show where things stand, unless it was said a moment ago."""
        now_s = time.monotonic()
        if self._quiet or now_s - self._last_s < _EVERY_S[self._terminal]:
            return
        self._last_s = now_s
        if self._terminal:
            print(f"\r{text:{self._width}}", end="", flush=True, file=sys.stderr)
            self._width = len(text)
        else:
            print(text, flush=True, file=sys.stderr)


def megabytes(num_bytes: float) -> str:
    """A size for people, in units of a million bytes."""
    return f"{num_bytes / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """A time for people: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values below each other."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)
