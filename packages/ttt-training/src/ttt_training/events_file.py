"""Reading events.jsonl: what a run began with, and whether it has ended."""

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ttt_training.metrics_file import read_lines

State = Literal["finished", "stopped", "unfinished"]
"""`stopped`: in order, by a signal. `unfinished`: it runs, or it was killed."""


class Beginning(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="event"):
    """The facts of an `events.RunStarted` that only the text and the model can tell."""

    documents: int
    """Of the training split, as `tokens` and `text_bytes`."""
    tokens: int
    text_bytes: int
    parameters: int
    kernel: str | None = None
    """None in files of versions that did not say."""


class History(NamedTuple):
    """What events.jsonl says of a run."""

    beginning: Beginning | None = None
    """None until the run has read its text."""
    state: State = "unfinished"
    signal: str | None = None
    """Name of the signal that stopped the run."""


class _Event(msgspec.Struct):
    event: str
    signal: str | None = None


def read_history(path: Path) -> History:
    """Read what happened to a run.

    Lines that are no events are passed over: events.jsonl only grows, so a line that a power cut
    left half written stays, with the next one behind it.

    Args:
        path: of events.jsonl; a run that is just starting has none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    history = History()
    for line in read_lines(path):
        try:
            event = msgspec.json.decode(line, type=_Event)
            if event.event == "start":
                history = History(msgspec.json.decode(line, type=Beginning))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if event.event == "stop":
            history = history._replace(state="stopped", signal=event.signal)
        elif event.event == "done":
            history = history._replace(state="finished", signal=None)
    return history
