"""First sentences. Some begin at the beginning, some in the middle of things."""

from collections.abc import Callable
from typing import TypeAlias

from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

Opening: TypeAlias = Callable[[Scene], None]
"""Tells who the story starts with and where; the actor is already there."""

CLASSIC = Phrases("""
    [Once there was|There once lived|In {town} there lived] a {a.trait} {a.job} named {a}.
    This is [the story|a story|the true story] of {a}, [a|the] {a.job} of {town}, who was
      {a.trait}[| and knew it| like all {a.job}s].
    Of all the people of {town} none was as {a.trait} as {a} the {a.job}.
    [My <kin>|An old {a.job}|The ferryman's wife] told me about {a}, a {a.trait} {a.job} of
      {town}.
    [Long ago|Some years ago|In the year of the comet|In the days of the old king], {a} came to
      {town} to be a {a.job}.
    Everybody in {town} knew {a}, the {a.trait} {a.job}[| with the limp| who never slept| behind
      the counter].
""")
BEGIN_HERE = Phrases("""
    {When}, {who} was {here.at}<tail>.
    One {season} day {who} was {here.at}, and {sky}.
    It all began {here.at}, where {a} [stood|sat|was waiting] one {season} day<tail>.
    The day this begins, {a} had come to {here} [early|late|for no reason].
""")
IN_THE_MIDDLE = Phrases("""
    {A} was [still|already|at last] {here.at} when {change}.
    Nobody had told {a} that {here} would be [empty|so cold|full of people] that day.
    {Sky}, and {a} had been {here.at} since [dawn|Tuesday|the bells].
    For <few> days {a} had [not spoken|slept badly|waited] {here.at}.
    At last {a} reached {here}, [wet|out of breath|an hour late|alone].
    "[Too late|Not here either|So this is it|Never again]," said {a}, looking [about|round]
      {here.at}.
    When {a} [woke|looked up|opened {a.his} eyes], {a.he} was {here.at} and {sky}.
""")
TRADE = Phrases("""
    {Hero} was a {a.job}[|, as {a.his} <kin> had been|, and a {a.trait} one].
    By trade {who} was a {a.job}[|, like <few> others in {town}].
    The people of {town} called {a.him} {a} the {a.job}.
""")
PLACE_FIRST = Phrases("""
    [Whoever|Anyone who] comes to {town} [sees|passes|is shown] {here} first.
    {Here.short}[, it must be said,| of {town}] is [older than the town|no place for the
      timid|hard to find in the dark|quiet in {season}].
    There are [<few>|a dozen] streets in {town}, and they all lead to {here}.
""")
THING_FIRST = Phrases("""
    Nobody knew how {thing} had come to be {here.at}.
    It began with {thing.a} that lay {here.at}[| one {season} morning| in plain sight| under a
      sheet].
    There are many stories about {thing}, but this is how it was: it lay {here.at}.
""")
WORD_FIRST = Phrases("""
    [To understand this story|First of all|Before we begin], one must know what {noun.a} is:
      {meaning}.
    {Noun.a} is {meaning}. [Remember that|You will need this later|There are many in {town}].
    What they call {noun.a} in {town} is {meaning}.
""")
DIARY = Phrases("""
    {Town}, {day}. {Sky}. {A} [has come|came] to {here} [again|at last|as agreed].
    From the chronicle of {town}, {day}: {a} was seen {here.at}.
    {Day}. In {town}, {sky}; and {a} was {here.at}.
""")


def _say_trade(scene: Scene) -> None:
    scene.world.state(scene.actor, "job")
    scene.tell(TRADE)


def _begin_here(scene: Scene) -> None:
    scene.tell(BEGIN_HERE, season=scene.world.sky.season)


def classic(scene: Scene) -> None:
    """Begin at the beginning."""
    scene.world.state(scene.actor, "job")
    scene.tell(CLASSIC)
    _begin_here(scene)


def in_the_middle(scene: Scene) -> None:
    """Begin in the middle of things."""
    scene.tell(IN_THE_MIDDLE, change=scene.world.sky.turn(scene.dice))
    if scene.dice.chance(0.6):
        _say_trade(scene)


def place_first(scene: Scene) -> None:
    """Begin with the place."""
    scene.tell(PLACE_FIRST, season=scene.world.sky.season)
    _begin_here(scene)
    _say_trade(scene)


def thing_first(scene: Scene) -> None:
    """Begin with a thing, if the story has any."""
    if not scene.world.things:
        return classic(scene)
    thing = scene.world.things[0]
    scene.world.appear(thing, scene.here)
    scene.tell(THING_FIRST, thing=thing, season=scene.world.sky.season)
    _begin_here(scene)
    return _say_trade(scene)


def word_first(scene: Scene) -> None:
    """Begin with an invented word."""
    noun = scene.world.nouns[0]
    scene.tell(WORD_FIRST, noun=noun, meaning=scene.world.state(noun, "meaning"))
    in_the_middle(scene)


def diary(scene: Scene) -> None:
    """Begin like an entry in a book of days."""
    months = {"spring": "April", "summer": "July", "autumn": "October", "winter": "January"}
    day = f"the {scene.dice.between(4, 19)}th of {months[scene.world.sky.season]}"
    scene.tell(DIARY, day=day)
    if scene.dice.chance(0.7):
        _say_trade(scene)


OPENINGS: tuple[Opening, ...] = (
    classic,
    in_the_middle,
    in_the_middle,
    place_first,
    thing_first,
    word_first,
    diary,
)
