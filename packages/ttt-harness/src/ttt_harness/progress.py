"""What a run says of itself: the JSON lines that `ttt train --json` writes to stdout.log.

Read as it grows, by the supervisor; or from its end, by whoever wants to know how it stands.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TAIL_BYTES = 2**16
_CHUNK_BYTES = 2**20


class Progress(NamedTuple):
    """What is known of an attempt; None is not said yet."""

    steps: int | None = None
    """In all."""
    step: int | None = None
    loss: float | None = None
    """Of the last logged step, nats a token."""
    val_loss: float | None = None
    """Of the last evaluation."""
    tokens_per_s: float | None = None
    tokens_per_step: int | None = None
    peak_memory_bytes: int | None = None
    resumed_from: int | None = None
    """Step of the checkpoint that this attempt began with."""
    saved: int | None = None
    """Step of the last checkpoint."""
    ended: str | None = None
    """`done`, or `stop` after a signal."""

    @property
    def seconds_left(self) -> float | None:
        """Time that the steps to come take at the last speed."""
        if self.step is None or self.steps is None or not self.tokens_per_s:
            return None
        return (self.steps - self.step) * (self.tokens_per_step or 0) / self.tokens_per_s


class Follower:
    """Reads what is added to a file, line by line.

    Args:
        path: it need not be there yet.
        start: where to begin; bytes.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._place = start
        self.progress = Progress()

    def read(self) -> Progress:
        """What is known now; a line without its end is left for the next time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._place)
                while chunk := file.read(_CHUNK_BYTES):
                    whole, end, _ = chunk.rpartition(b"\n")
                    if not end:
                        break
                    self._place += len(whole) + 1
                    file.seek(self._place)
                    self.progress = digest(self.progress, whole.split(b"\n"))
        except FileNotFoundError:
            pass
        return self.progress


def read_tail(path: Path, start: int = 0) -> Progress:
    """What the end of a file tells, without reading all of it.

    Args:
        path: of stdout.log.
        start: where the last attempt begins; bytes.
    """
    try:
        with path.open("rb") as file:
            # Its first lines have what is said once: how many steps there are to take.
            file.seek(start)
            head = file.read(_TAIL_BYTES // 8)
            rest = max(start + len(head), file.seek(0, 2) - _TAIL_BYTES)
            file.seek(rest)
            tail = file.read()
    except OSError:
        return Progress()
    *head_lines, cut = head.split(b"\n")
    if rest == start + len(head):
        tail = cut + tail
    *tail_lines, _ = tail.split(b"\n")
    return digest(digest(Progress(), head_lines), tail_lines)


def digest(progress: Progress, lines: Iterable[bytes]) -> Progress:
    """What is known after some lines more; lines that are no events are passed over."""
    for line in lines:
        if not line.startswith(b"{"):
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            progress = _after(progress, event)
    return progress


def _after(progress: Progress, event: dict[str, object]) -> Progress:
    def number(key: str) -> float | None:
        value = event.get(key)
        return value if isinstance(value, int | float) else None

    match event.get("event"):
        case "start":
            return progress._replace(
                steps=_whole(number("steps")), tokens_per_step=_whole(number("tokens_per_step"))
            )
        case "resume":
            step = _whole(number("step"))
            return progress._replace(step=step, resumed_from=step)
        case "step":
            return progress._replace(
                step=_whole(number("step")),
                loss=number("loss"),
                tokens_per_s=number("tokens_per_s"),
                peak_memory_bytes=_whole(number("peak_memory_bytes")),
            )
        case "eval":
            return progress._replace(step=_whole(number("step")), val_loss=number("val_loss"))
        case "checkpoint":
            return progress._replace(saved=_whole(number("step")))
        case "done":
            return progress._replace(ended="done", step=_whole(number("steps")))
        case "stop":
            return progress._replace(ended="stop", step=_whole(number("step")))
    return progress


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
