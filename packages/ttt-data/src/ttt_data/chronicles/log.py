"""What happened in a story, in order: the record a reader can check the telling against.

Names are plain text (`Entity.key`); `sentence` counts the sentences told so far, so an entry
belongs to the sentence of that number. Replaying the entries gives the world at any moment without
the code that told the story.
"""

from typing import NamedTuple, TypeAlias


class Happened(NamedTuple):
    """An event of this kind was told."""

    sentence: int
    event: str


class Stated(NamedTuple):
    """The reader was told a lasting fact. A later value replaces an earlier one."""

    sentence: int
    subject: str
    attribute: str
    value: str


class Moved(NamedTuple):
    """Someone went to a place, or was there when first met."""

    sentence: int
    who: str
    place: str


class Appeared(NamedTuple):
    """A thing was first seen, lying at a place."""

    sentence: int
    thing: str
    place: str


class Took(NamedTuple):
    """Someone picked up a thing that lay where they were."""

    sentence: int
    who: str
    thing: str


class Left(NamedTuple):
    """Someone left a thing they had where they were, in sight or hidden."""

    sentence: int
    who: str
    thing: str


class Gave(NamedTuple):
    """A thing changed hands."""

    sentence: int
    giver: str
    receiver: str
    thing: str


class Paid(NamedTuple):
    """Coins changed hands; an empty name is someone outside the story."""

    sentence: int
    payer: str
    payee: str
    coins: int


class Promised(NamedTuple):
    """Someone promised to bring a thing to someone; an empty thing means the promise was kept."""

    sentence: int
    who: str
    to: str
    thing: str


class Answered(NamedTuple):
    """A question about `subject` was answered; `speaker` is empty when the narrator answered."""

    sentence: int
    topic: str
    subject: str
    answer: str
    speaker: str


class Recalled(NamedTuple):
    """Something told before was said again, not in answer to a question."""

    sentence: int
    topic: str
    subject: str
    value: str


Entry: TypeAlias = (
    Happened
    | Stated
    | Moved
    | Appeared
    | Took
    | Left
    | Gave
    | Paid
    | Promised
    | Answered
    | Recalled
)
