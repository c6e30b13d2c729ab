"""The table of events: everything that can happen in a story."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ttt_data.chronicles.scene import Scene

Play: TypeAlias = Callable[[Scene], bool]
"""Makes an event happen and tells of it; returns False, having done neither, if it cannot be."""


@dataclass(frozen=True, eq=False)
class Event:
    """One kind of event.

    Attributes:
        name: the name of the function that plays it.
        group: the module that function stands in, such as "trade"; events of one group go together.
        play: that function.
        weight: how often it is tried, relative to the others.
        question: it contains a question with its answer.
    """

    name: str
    group: str
    play: Play
    weight: float
    question: bool


EVENTS: dict[str, Event] = {}


def event(*, weight: float = 1.0, question: bool = False) -> Callable[[Play], Play]:
    """Register the decorated function as a kind of event."""

    def register(play: Play) -> Play:
        name = play.__name__
        if name in EVENTS:
            raise ValueError(f"two events are called {name}")
        group = play.__module__.rpartition(".")[2]
        EVENTS[name] = Event(name, group, play, weight, question)
        return play

    return register
