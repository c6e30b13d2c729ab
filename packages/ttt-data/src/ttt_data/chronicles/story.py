"""Tells one story: an opening, scenes until it is long enough, an ending."""

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ttt_data.chronicles.cast import draw_world
from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.endings import ENDINGS
from ttt_data.chronicles.events import EVENTS, Event
from ttt_data.chronicles.grammar import articles, number_word, roman, title
from ttt_data.chronicles.knobs import ChronicleKnobs
from ttt_data.chronicles.log import Entry, Happened
from ttt_data.chronicles.openings import OPENINGS
from ttt_data.chronicles.prose import Prose
from ttt_data.chronicles.scene import KnownTopic, Scene
from ttt_data.chronicles.spans import Document, finish, plain
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.world import Topic, World

TRIES = 20
"""How many events are drawn before the actor is left to linger, which is always possible."""

FAVOUR = 5
"""How much likelier the events are that fit the paragraph."""

ALONE_GROUPS = (
    "movement",
    "movement",
    "work",
    "family",
    "animals",
    "arrivals",
    "arrivals",
    "possession",
)
COMPANY_GROUPS = ("company", "company", "possession", "trade", "promises", "feelings", "knowledge")
"""What a paragraph may be about, when its person is alone or in company."""

SWITCH = Phrases("""
    [Meanwhile|All this while|At that time], {a} was {here.at}<tail>.
    {A} was [still|just then|at that hour] {here.at}<tail>.
    And {a}? {A} was {here.at}, and {sky}.
    {When}, {a} was {here.at}, [alone or so {a.he} thought|in no good mood|as before|and had been
      for hours].
    {Here.at}, {a} [had waited|had slept|was waiting]<tail>.
""")


class Chronicle(NamedTuple):
    """A story, the log of what happened in it, and its sentences with their marks."""

    document: Document
    log: tuple[Entry, ...]
    marked_sentences: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Return the sentences as the log counts them, titles and headings left out."""
        return [plain(articles(sentence)) for sentence in self.marked_sentences]


class _Urn:
    """Draws events by weight, those of one group more often than their weight says."""

    def __init__(self, events: Sequence[Event], favoured_group: str = "") -> None:
        self._events = events
        self._bounds = list(
            accumulate(
                event.weight * (FAVOUR if event.group == favoured_group else 1) for event in events
            )
        )

    def draw(self, dice: Dice) -> Event:
        return self._events[bisect(self._bounds, dice.random() * self._bounds[-1])]


_QUESTIONS = _Urn([event for event in EVENTS.values() if event.question])
_OTHERS = {
    group: _Urn([event for event in EVENTS.values() if not event.question], group)
    for group in dict.fromkeys(event.group for event in EVENTS.values())
}


def tell_story(dice: Dice, knobs: ChronicleKnobs) -> Chronicle:
    """Tell a story; equal dice and knobs tell the same one."""
    world, prose = draw_world(dice, knobs), Prose()
    scene = Scene(world, dice, prose, knobs)
    low, high = knobs.words
    length = int(low * (high / low) ** dice.random())
    num_chapters = max(1, round(length / knobs.chapter_words))
    heading = dice.pick(_HEADINGS)
    if dice.chance(0.4):
        prose.heading(_title(world, dice))
    for chapter in range(num_chapters):
        if num_chapters > 1:
            prose.heading(heading(chapter + 1, world, dice))
        if chapter == 0:
            world.enter(scene.actor, dice.pick(world.places))
            dice.pick(OPENINGS)(scene)
        while prose.words < length * (chapter + 1) / num_chapters:
            _play_scene(scene)
    scene.new_paragraph()
    dice.pick(ENDINGS)(scene)
    return Chronicle(finish(prose.text()), tuple(world.log), tuple(scene.sentences))


def _play_scene(scene: Scene) -> None:
    """Play a paragraph or two that follow one person and are mostly about one sort of thing."""
    dice, world = scene.dice, scene.world
    if world.now > 6 and dice.chance(0.5):
        _switch_actor(scene)
    others = _OTHERS[dice.pick(COMPANY_GROUPS if scene.company() else ALONE_GROUPS)]
    recent: list[Event] = []
    for _ in range(dice.between(3, 7)):
        urns = [_QUESTIONS, others] if dice.chance(scene.knobs.question_share) else [others]
        recent.append(_play_event(scene, urns, recent[-4:]))
        if dice.chance(0.12):
            scene.new_paragraph()
    scene.new_paragraph()
    world.sky.pass_time(dice.between(0, 2))


def _play_event(scene: Scene, urns: Sequence[_Urn], recent: Sequence[Event]) -> Event:
    """Play an event from the first urn that holds a possible one, and return it."""
    log = scene.world.log
    for urn in urns:
        for _ in range(TRIES):
            event = urn.draw(scene.dice)
            if event in recent and not event.question:
                continue
            start, now = len(log), scene.world.now
            if event.play(scene):
                log.insert(start, Happened(now, event.name))
                return event
    linger = EVENTS["linger"]
    log.append(Happened(scene.world.now, linger.name))
    linger.play(scene)
    return linger


def _switch_actor(scene: Scene) -> None:
    """Let the story follow someone else, and say where they are."""
    others = [person for person in scene.world.met() if person is not scene.actor]
    if not others:
        return
    same_place = scene.here
    scene.actor = scene.dice.pick(others)
    if scene.here is same_place:
        return
    scene.recall(KnownTopic(Topic("where", scene.actor), scene.here.forms["at"]))
    scene.tell(SWITCH)


# Titles and headings.


def _title(world: World, dice: Dice) -> str:
    hero, place = world.people[0], dice.pick(world.places)
    choices = [
        f"{hero} and the {title(place.forms['short'][4:])}",
        f"The {title(hero.job)} of {world.town}",
        f"A {title(world.sky.season)} in {world.town}",
        f"The Story of {hero}",
        title(str(place)),
    ]
    choices += [title(str(thing)) for thing in world.things[:1]]
    return dice.pick(choices)


_HEADINGS: tuple[Callable[[int, World, Dice], str], ...] = (
    lambda number, _world, _dice: f"Chapter {number}",
    lambda number, _world, _dice: f"Chapter {title(number_word(number))}",
    lambda number, _world, _dice: f"{roman(number)}.",
    lambda _number, _world, _dice: "* * *",
    lambda number, world, dice: f"{number}. {title(str(dice.pick(world.places)))}",
)
