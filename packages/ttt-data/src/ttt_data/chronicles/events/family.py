"""Home, kin and years."""

from ttt_data.chronicles.events.knowledge import tell_fact
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.grammar import number_word
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

HOME = Phrases("""
    {Hero} lived {value}, [where the rent was low|in two rooms|as {a.his} <kin> had|and liked it
      there].
    The house of {a} stood {value}[|, a little apart|, between two taller ones].
    It was known to all that {a} lived {value}.
""")
HOUSE = Phrases("""
    {A}'s house [was easy to find|could not be missed|was the smallest in the row]: it had
      {value}.
    {Hero} lived in a house with {value}.
    [Whoever wanted to find {a}'s house only had|To find {a}'s house, one only had] to look for
      {value}.
""")
SIBLING = Phrases("""
    {Hero} had a {kin} called {value}, [who was seldom at home|and they wrote to each other|who
      was not at all like {a.him}|whom {a.he} loved dearly].
    {A}'s {kin} was {value}, [as people never tired of saying|and you could see it by the nose].
    "My {kin} {value} [would have liked this|taught me that|knows all about it]," <said> {a}.
""")
ORIGIN = Phrases("""
    {Hero} came from {value}, [a village with one street|two days away by cart|where nobody locks
      the doors|a place few have heard of].
    {Hero} had been born in {value}[|, in a hard winter|, above a stable|, as the seventh of nine
      children].
    "Where I come from, in {value}," <said> {a}, "[we do it differently|they eat <food> for
      breakfast|nobody is in such a hurry]."
""")
AGE = Phrases("""
    {Hero} was {value} years old[| at the time|, or so {a.he} said| and looked it].
    At {value}, {who} was [still quick on {a.his} feet|no longer easily fooled|the pride of
      {a.his} <kin>].
""")
BIRTHDAY = Phrases("""
    It was {a}'s birthday, and {a.he} was now {value} years old. [They ate <food>|Nobody had
      remembered|Everyone sang|It rained presents, or nearly].
    That day {a} turned {value}. {A.he} [told no one|baked {a.himself} a cake|climbed a tree to
      prove something].
    {Who} [celebrated|kept] {a.his} birthday with <food>: {value} years, [imagine|where had they
      gone|and not one too many].
""")
LETTER = Phrases("""
    A letter came for {a} from [{a.his} <kin>|a lawyer|an old friend|someone who did not sign].
      {Who} read it [twice|aloud|standing up|by the window] and [smiled|burned it|kept it in
      {a.his} hat|answered at once].
    {Who} wrote a long letter to {a.his} <kin>, [blotted it, and went to post it|sealed it with
      wax, and never sent it|tore it up, and began again|read it over, and blushed].
    There was no letter for {a}, [as usual|and that was a relief|though {a.he} had hoped].
""")
SAYING = Phrases("""
    "[Slow water|An empty sack|A borrowed coat|A barking dog|The last apple|A shut door|Cold soup]
      [wears out the stone|will not stand|never fits|seldom bites|is the sweetest|tells no
      tales|pleases nobody]," {a.his} <kin> used to say, and {who} [thought of it now|had never
      understood it|believed it].
    {A.his} <kin> had always [said|told {a.him}]: [never trust a <trait> {man}|look twice before
      you buy|save the string|eat first and argue later|count the spoons].
    {Hero} [thought of|missed|talked about|took after] {a.his} <kin>, who had been [a {job}|as
      {a.trait} as {a.he} was|seven feet tall|fond of <food>].
""")


@event(weight=1.2)
def describe_home(scene: Scene) -> bool:
    """Say where the actor lives."""
    return tell_fact(scene, HOME, scene.actor, "home")


@event(weight=1)
def describe_house(scene: Scene) -> bool:
    """Say what the actor's house looks like."""
    return tell_fact(scene, HOUSE, scene.actor, "house")


@event(weight=1.2)
def name_sibling(scene: Scene) -> bool:
    """Say who the actor's brother or sister is."""
    actor = scene.actor
    return any(tell_fact(scene, SIBLING, actor, kin, kin=kin) for kin in ("brother", "sister"))


@event(weight=1)
def name_origin(scene: Scene) -> bool:
    """Say where the actor was born."""
    return tell_fact(scene, ORIGIN, scene.actor, "origin")


@event(weight=0.8)
def tell_age(scene: Scene) -> bool:
    """Say how old the actor is."""
    return tell_fact(scene, AGE, scene.actor, "age")


@event(weight=0.3)
def birthday(scene: Scene) -> bool:
    """Make the actor a year older; at most once in a story."""
    actor = scene.actor
    if "birthday" in actor.facts:
        return False
    actor.facts["birthday"] = "over"
    age = number_word(int(actor.facts["years"]) + 1)
    scene.tell(BIRTHDAY, value=scene.world.state(actor, "age", age))
    return True


@event(weight=0.8)
def letter(scene: Scene) -> bool:
    """Get a letter, or write one."""
    scene.tell(LETTER)
    return True


@event(weight=0.8)
def saying(scene: Scene) -> bool:
    """Remember what the old people used to say."""
    person = scene.dice.pick(scene.world.people)
    scene.tell(SAYING, man=person.forms["man"], job=person.job)
    return True
