"""What can happen in a story: importing this package fills the table `EVENTS`."""

from ttt_data.chronicles.events import (
    animals,
    arrivals,
    company,
    family,
    feelings,
    knowledge,
    movement,
    possession,
    promises,
    questions,
    trade,
    weather,
    work,
)
from ttt_data.chronicles.events.registry import EVENTS, Event

__all__ = [
    "EVENTS",
    "Event",
    "animals",
    "arrivals",
    "company",
    "family",
    "feelings",
    "knowledge",
    "movement",
    "possession",
    "promises",
    "questions",
    "trade",
    "weather",
    "work",
]
