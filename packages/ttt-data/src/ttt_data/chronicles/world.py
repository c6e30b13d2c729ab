"""The world of one story: who is where and has what, and what the reader has been told.

Events change the world only through the methods here. Each checks that the change is possible,
makes it, and writes it down in the log. The narration never looks at the log, and the log never at
the narration, so the one can be tested against the other.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from ttt_data.chronicles.entities import Entity, Noun, Person, Place, Thing, Town
from ttt_data.chronicles.grammar import plural
from ttt_data.chronicles.log import (
    Appeared,
    Entry,
    Gave,
    Left,
    Moved,
    Paid,
    Promised,
    Stated,
    Took,
)
from ttt_data.chronicles.sky import Sky
from ttt_data.chronicles.spans import plain


class Topic(NamedTuple):
    """Something that can be asked about: a kind of `topics.TOPICS` and whom or what it is about."""

    kind: str
    subject: Entity


class Promise(NamedTuple):
    """`who` is to bring `thing` to `to`."""

    who: Person
    to: Person
    thing: Thing


@dataclass
class World:
    """Everything that is the case in one story.

    Attributes:
        people, things: the whole cast, whether or not it has entered the story.
        now: number of sentences told so far.
        told: kind of topic to subject to the sentence that last told the reader the answer.
        witnesses: who in the story knows the present answer to a topic.
        promises: what has been promised and not yet brought.
        log: what happened, in order.
    """

    town: Town
    sky: Sky
    people: list[Person]
    things: list[Thing]
    places: list[Place]
    nouns: list[Noun]
    now: int = 0
    told: dict[str, dict[Entity, int]] = field(default_factory=dict)
    witnesses: dict[Topic, set[str]] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)

    # What is the case.

    def met(self) -> list[Person]:
        """Return the people who have entered the story."""
        return [person for person in self.people if person.place is not None]

    def present(self, place: Place) -> list[Person]:
        """Return the people who are at a place."""
        return [person for person in self.people if person.place is place]

    def belongings(self, person: Person) -> list[Thing]:
        """Return what a person has with them."""
        return [thing for thing in self.things if thing.holder is person]

    def lying(self, place: Place, *, hidden: bool = False) -> list[Thing]:
        """Return the things that lie at a place: those in sight, or the hidden ones."""
        return [thing for thing in self.things if thing.place is place and thing.hidden is hidden]

    def unseen(self) -> list[Thing]:
        """Return the things that have not appeared in the story yet."""
        return [thing for thing in self.things if thing.place is None and thing.holder is None]

    def seen(self) -> list[Thing]:
        """Return the things that have appeared in the story."""
        return [
            thing for thing in self.things if thing.place is not None or thing.holder is not None
        ]

    def has_told(self, kind: str, subject: Entity) -> bool:
        """Whether the reader has been told this."""
        return subject in self.told.get(kind, ())

    def note_told(self, topic: Topic) -> None:
        """Remember that the sentence to come tells the reader the answer to a topic."""
        self.told.setdefault(topic.kind, {})[topic.subject] = self.now

    # What happens.

    def state(self, subject: Entity, attribute: str, value: str | None = None) -> str:
        """Tell a lasting fact (a new value replaces it), and return its value."""
        if value is not None:
            subject.facts[attribute] = value
        value = subject.facts[attribute]
        self.log.append(Stated(self.now, subject.key, attribute, plain(value)))
        self.note_told(Topic(attribute, subject))
        return value

    def enter(self, person: Person, place: Place) -> None:
        """Bring a person into the story."""
        if person.place is not None:
            raise ValueError(f"{person.key} has entered already")
        person.place = place
        self.log.append(Moved(self.now, person.key, place.key))
        self._tell("where", person, place)

    def move(self, person: Person, place: Place) -> None:
        """Take a person, with all they have, to another place."""
        origin = person.place
        if origin is None or origin is place:
            raise ValueError(f"{person.key} cannot go from {origin} to {place}")
        person.previous, person.place = origin, place
        self.log.append(Moved(self.now, person.key, place.key))
        self._tell("where", person, origin, place)
        self._tell("before", person, origin, place)

    def appear(self, thing: Thing, place: Place) -> None:
        """Bring a thing into the story, lying at a place."""
        if thing.place is not None or thing.holder is not None:
            raise ValueError(f"{thing.key} has appeared already")
        thing.place = place
        self.log.append(Appeared(self.now, thing.key, place.key))
        self._tell("lies", thing, place)

    def take(self, person: Person, thing: Thing) -> None:
        """Let a person pick up a thing that lies where they are."""
        place = person.place
        if place is None or thing.place is not place:
            raise ValueError(f"{person.key} is at {place}, {thing.key} is not")
        thing.place, thing.holder, thing.hidden = None, person, False
        thing.found, thing.giver = place, None
        self.log.append(Took(self.now, person.key, thing.key))
        self._tell("holder", thing, place)
        self._tell("found", thing, place)

    def leave(self, person: Person, thing: Thing, *, hidden: bool = False) -> None:
        """Let a person put down or hide a thing they have."""
        place = person.place
        if place is None or thing.holder is not person:
            raise ValueError(f"{person.key} does not have {thing.key}")
        thing.place, thing.holder, thing.hidden = place, None, hidden
        thing.found = thing.giver = None
        self.log.append(Left(self.now, person.key, thing.key))
        if hidden:
            self.note_told(Topic("lies", thing))
            self.witnesses[Topic("lies", thing)] = {person.key}
        else:
            self._tell("lies", thing, place)

    def give(self, giver: Person, receiver: Person, thing: Thing) -> None:
        """Pass a thing from one person to another at the same place."""
        place = giver.place
        if place is None or thing.holder is not giver or receiver.place is not place:
            raise ValueError(f"{giver.key} cannot give {thing.key} to {receiver.key}")
        thing.holder, thing.giver, thing.found = receiver, giver, None
        self.log.append(Gave(self.now, giver.key, receiver.key, thing.key))
        self._tell("holder", thing, place)
        self._tell("giver", thing, place)

    def pay(self, payer: Person | None, payee: Person | None, coins: int) -> None:
        """Move coins between purses; None is someone outside the story."""
        if coins <= 0 or (payer is not None and payer.coins < coins):
            raise ValueError(f"{payer} cannot pay {coins}")
        for person, change in ((payer, -coins), (payee, coins)):
            if person is not None:
                person.coins += change
                person.facts["coins"] = plural(person.coins, "coin")
                if self.has_told("coins", person):
                    self._tell("coins", person, *filter(None, (person.place,)))
        names = (payer.key if payer else "", payee.key if payee else "")
        self.log.append(Paid(self.now, *names, coins))

    def promise(self, promise: Promise) -> None:
        """Let someone promise to bring a thing; a person keeps one promise in mind at a time."""
        self.promises = [other for other in self.promises if other.who is not promise.who]
        self.promises.append(promise)
        self.log.append(Promised(self.now, promise.who.key, promise.to.key, promise.thing.key))
        self._tell("promise", promise.who, *filter(None, (promise.who.place,)))

    def fulfil(self, promise: Promise) -> None:
        """Strike a promise off."""
        self.promises.remove(promise)
        self.log.append(Promised(self.now, promise.who.key, promise.to.key, ""))

    def promised_by(self, person: Person) -> Promise | None:
        """Return what a person has promised."""
        return next((promise for promise in self.promises if promise.who is person), None)

    def _tell(self, kind: str, subject: Entity, *where: Place) -> None:
        """The answer to a topic has changed before the eyes of the reader and of those there."""
        topic = Topic(kind, subject)
        self.note_told(topic)
        self.witnesses[topic] = {
            person.key for place in where for person in self.people if person.place is place
        }
