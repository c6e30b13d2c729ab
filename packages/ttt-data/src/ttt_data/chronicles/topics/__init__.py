"""What can be asked, how it is asked, and what the world says the answer is.

There is one `TopicKind` per sort of fact. Its `state` is a clause that stands alone and fits both
tenses: the verbs in it are slots ({is}, {has}, {lives}), so that a character can say it and the
narrator recall it. The answer is the only part that differs from one telling to the next;
everything else in the question and the reply is wording.
"""

from collections.abc import Mapping

from ttt_data.chronicles.entities import Entity, Person
from ttt_data.chronicles.spans import answer
from ttt_data.chronicles.templates import Random
from ttt_data.chronicles.topics.changing import CHANGING
from ttt_data.chronicles.topics.kind import TopicKind
from ttt_data.chronicles.topics.lasting import LASTING
from ttt_data.chronicles.world import Topic, World

__all__ = [
    "PAST",
    "PRESENT",
    "TOPICS",
    "TopicKind",
    "question",
    "reply",
    "statement",
    "value_of",
]

PRESENT: Mapping[str, str] = {
    "is": "is",
    "has": "has",
    "lives": "lives",
    "comes": "comes",
    "does": "does",
}
PAST: Mapping[str, str] = {
    "is": "was",
    "has": "had",
    "lives": "lived",
    "comes": "came",
    "does": "did",
}

TOPICS: Mapping[str, TopicKind] = CHANGING | LASTING


def value_of(world: World, topic: Topic) -> str | None:
    """Return the true answer to a topic, with its marks, or None if there is none at present."""
    return TOPICS[topic.kind].value(world, topic.subject)


def question(random: Random, topic: Topic) -> str:
    """Return the question, capitalised, without its mark."""
    return TOPICS[topic.kind].ask.text(random, **_slots(topic))


def reply(random: Random, topic: Topic, value: str) -> str:
    """Return the reply with its answer marked, capitalised, without its full stop."""
    return TOPICS[topic.kind].reply.text(random, **_slots(topic), answer=answer(value))


def statement(random: Random, topic: Topic, value: str, tense: Mapping[str, str]) -> str:
    """Return the fact as a clause that starts in lower case; nothing in it is marked an answer."""
    return TOPICS[topic.kind].state.text(random, **_slots(topic), **tense, answer=value)


def _slots(topic: Topic) -> dict[str, Entity | str]:
    """The subject, and where it is now if it is a person."""
    place = topic.subject.place if isinstance(topic.subject, Person) else None
    return {"s": topic.subject, "now": str(place)}
