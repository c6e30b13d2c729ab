"""What one sort of question consists of."""

from collections.abc import Callable
from dataclasses import dataclass

from ttt_data.chronicles.entities import Entity
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.world import World


@dataclass(frozen=True)
class TopicKind:
    """One sort of question.

    Attributes:
        ask: the question without its mark; slot {s} is the subject.
        reply: the spoken reply without its full stop; slot {answer}.
        state: the same as a clause of its own, as "the key is in the garden".
        value: what the world says; None if there is nothing to say now.
        common: everybody in the story knows the answer, not only who was there.
        ask_you, reply_me: how to put it to the subject, and how they reply; None if one would not.
    """

    ask: Phrases
    reply: Phrases
    state: Phrases
    value: Callable[[World, Entity], str | None]
    common: bool = True
    ask_you: Phrases | None = None
    reply_me: Phrases | None = None
