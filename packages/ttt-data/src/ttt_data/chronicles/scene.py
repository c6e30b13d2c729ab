"""The stage an event plays on: who acts, who is there, and how to put it into words."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.entities import Entity, LongNamed, Person, Place
from ttt_data.chronicles.grammar import plural
from ttt_data.chronicles.knobs import ChronicleKnobs
from ttt_data.chronicles.log import Answered, Recalled
from ttt_data.chronicles.prose import Prose
from ttt_data.chronicles.spans import plain
from ttt_data.chronicles.templates import Phrases, Template
from ttt_data.chronicles.topics import PAST, TOPICS, statement, value_of
from ttt_data.chronicles.world import Topic, World

LEAD_SHARE = 0.3
"""Share of the sentences opening with their subject that get a "Soon" or "At noon," in front."""
PRONOUN_SHARE = 0.7
"""Share of the subjects that become he or she where the reader cannot be in doubt."""

TOPIC_TRIES = 10
"""How many topics are looked at before there is nothing to ask."""

_LEADS = Phrases("""
    <Lead>
    <Lead>
    {When},
""")
_MEETINGS = Phrases("""
    a {b.trait} {b.job} named {b}
    {b} the {b.job}
    the {b.trait} {b.job} {b}
    a {b.job} called {b}
""")


class KnownTopic(NamedTuple):
    """A topic and its true answer, with marks."""

    topic: Topic
    value: str


class Scene:
    """What an event function is given to work with.

    Attributes:
        world: what is the case; change it before telling of the change.
        dice: the source of all chance.
        prose: where the sentences go.
        knobs: the reader's wishes.
        sentences: what has been told, marks included; the log counts in these.
        actor: the person the story follows just now; has entered the story.
    """

    def __init__(self, world: World, dice: Dice, prose: Prose, knobs: ChronicleKnobs) -> None:
        self.world = world
        self.dice = dice
        self.prose = prose
        self.knobs = knobs
        self.sentences: list[str] = []
        self.actor: Person = world.people[0]
        self._in_focus: Person | None = None
        self._named: set[LongNamed] = set()

    @property
    def here(self) -> Place:
        """Where the actor is."""
        place = self.actor.place
        if place is None:
            raise ValueError(f"{self.actor.key} has not entered the story")
        return place

    def company(self) -> list[Person]:
        """Return the others who are where the actor is."""
        return [
            person
            for person in self.world.people
            if person.place is self.here and person is not self.actor
        ]

    def companion(self) -> Person | None:
        """Return one of the others who are here, or None."""
        company = self.company()
        return self.dice.pick(company) if company else None

    def elsewhere(self) -> list[Place]:
        """Return the places where the actor is not."""
        return [place for place in self.world.places if place is not self.actor.place]

    # Telling.

    def tell(self, phrases: Phrases, **slots: Entity | str) -> None:
        """Write one sentence (or a few that belong together).

        The templates may use {a}, {who} and {hero} (the actor), {here}, {town}, {sky} (a clause
        about the weather), {sign} (about the season), {when}, and whatever is passed in.
        """
        random = self.dice.random
        template = phrases.draw(random)
        slots = self._bind(template, slots)
        if template.opens_with_subject and random() < LEAD_SHARE:
            sentence = template.render_after(self._lead(), random, slots)
        else:
            sentence = template.render(random, slots)
        self.write(sentence)
        for value in slots.values():
            if isinstance(value, LongNamed) and value.forms[""] in sentence:
                self._named.add(value)
        other = slots.get("b")
        ambiguous = isinstance(other, Person) and other.sex == self.actor.sex
        if template.speaks_of_actor and not ambiguous:
            self._in_focus = self.actor

    def write(self, sentence: str) -> None:
        """Write a sentence that is already worded."""
        self.prose.add(sentence)
        self.sentences.append(sentence)
        self.world.now += 1
        self._in_focus = None

    def new_paragraph(self) -> None:
        """Start a paragraph; it names its people anew."""
        self.prose.new_paragraph()
        self._in_focus = None
        self._named.clear()

    def phrase(self, phrases: Phrases, **slots: Entity | str) -> str:
        """Word a part of a sentence; templates may use {a}, {town} and whatever is passed in."""
        return phrases.text(self.dice.random, a=self.actor, town=self.world.town, **slots)

    def _bind(
        self, template: Template, slots: Mapping[str, Entity | str]
    ) -> dict[str, Entity | str]:
        """Add what every template may use, in the form that suits this point of the paragraph."""
        actor = self.actor
        bound = {slot: self._again(value) for slot, value in slots.items()}
        bound["a"], bound["town"] = actor, self.world.town
        if actor.place is not None:
            bound["here"] = self._again(actor.place)
        for backdrop in template.backdrops:
            bound[backdrop] = self._backdrop(backdrop)
        in_focus = self._in_focus is actor and self.dice.chance(PRONOUN_SHARE)
        bound["who"] = bound["hero"] = actor.forms["he"] if in_focus else actor.forms[""]
        return bound

    def _again(self, value: Entity | str) -> Entity | str:
        """Shorten what the paragraph has named before: the copper key becomes the key."""
        return value.brief if isinstance(value, LongNamed) and value in self._named else value

    def _backdrop(self, slot: str) -> str:
        sky = self.world.sky
        if slot == "sky":
            return sky.clause(self.dice)
        return sky.sign(self.dice) if slot == "sign" else sky.when(self.dice)

    def _lead(self) -> str:
        template = _LEADS.draw(self.dice.random)
        when = self.world.sky.when(self.dice) if "when" in template.needs else ""
        return template.render(self.dice.random, {"a": self.actor, "when": when}) + " "

    # What the reader learns.

    def introduce(self, newcomer: Person) -> str:
        """Bring someone to where the actor is, and return how to speak of them the first time."""
        self.world.enter(newcomer, self.here)
        self.world.state(newcomer, "job")
        return self.phrase(_MEETINGS, b=newcomer)

    def count_coins(self, person: Person) -> str:
        """State how many coins a person has, as in "twelve coins"."""
        return self.world.state(person, "coins", plural(person.coins, "coin"))

    def recall(self, known: KnownTopic, tense: Mapping[str, str] = PAST) -> str:
        """Say a thing told before once more, as a clause in lower case."""
        topic, value = known
        self.world.note_told(topic)
        entry = Recalled(self.world.now, topic.kind, topic.subject.key, plain(value))
        self.world.log.append(entry)
        return statement(self.dice.random, topic, value, tense)

    def answer(self, known: KnownTopic, speaker: Person | None) -> None:
        """Note that a question is being answered in the sentence to come."""
        world, (topic, value) = self.world, known
        world.note_told(topic)
        name = speaker.key if speaker else ""
        world.log.append(Answered(world.now, topic.kind, topic.subject.key, plain(value), name))

    def draw_topic(self, fits: Callable[[Topic, str], bool] | None = None) -> KnownTopic | None:
        """Draw what can be told again, every kind of topic with equal chance.

        Args:
            fits: says of a topic and its value whether it will do; None if all will.

        Returns:
            A topic last told as long ago as the knobs want, with its value; None if a few draws
            find no such topic.
        """
        nearest, farthest = self.knobs.recall
        latest = self.world.now - nearest
        earliest = 0 if farthest is None else self.world.now - farthest
        kinds = tuple(self.world.told)
        for _ in range(TOPIC_TRIES if kinds else 0):
            kind = self.dice.pick(kinds)
            told = self.world.told[kind].items()
            subjects = [subject for subject, when in told if earliest <= when <= latest]
            if subjects:
                topic = Topic(kind, self.dice.pick(subjects))
                value = value_of(self.world, topic)
                if value is not None and (fits is None or fits(topic, value)):
                    return KnownTopic(topic, value)
        return None

    def knows(self, person: Person, topic: Topic) -> bool:
        """Whether a person of the story could answer."""
        return (
            TOPICS[topic.kind].common
            or topic.subject is person
            or person.key in self.world.witnesses.get(topic, ())
        )
