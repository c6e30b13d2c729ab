"""People who come into the story or pass through, and what places look like."""

from ttt_data.chronicles.events.knowledge import tell_fact
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.vocabulary import PLACES

MEET = Phrases("""
    {Here.at} {who} met {someone}, {doing}.
    There was somebody else {here.at}: {someone}, {doing}.
    {Hero} was not alone {here.at}, for {someone} {came}.
    {When}, {someone} {came}, and {a} made room {here.at}.
    "[Good day.|Mind the step.|Are you looking for somebody?|Is this seat taken?]" It was
      {someone}, {doing}.
    [Whom should|Whom did] {a} meet {here.at} but {someone}?
""")
DOING = Phrases("""
    [sitting|resting|waiting] [in the shade|on a barrel|with a basket on {b.his} knees|as if for
      somebody]
    who [nodded|bowed|waved|stared|offered {a.him} <food>|asked the way]
    with [a <colour> scarf|a limp|a bundle under one arm|a broad smile|mud up to the knees]
    who seemed [<trait>|in a hurry|glad of company|lost]
""")
CAME = Phrases("""
    [came in|came up|came along|stepped out of the shadow] and [nodded|sat down|said good
      day|began to talk]
    [had been there all along|was there before {a.him}|arrived at the same time|got down from a
      cart]
""")
CARRYING = Phrases("""
    {B} [carried|had with {b.him}|was holding] {thing.a}[| under {b.his} coat| wrapped in
      newspaper| and would not let go of it].
    What {b} [held in {b.his} hands|had brought along] was {thing.a}.
""")
DESCRIBE_PLACE = Phrases("""
    {Here.at} one could see {feature}[|, and also {other}|, unless it was too dark].
    {Who} [looked at|noticed|walked round|drew] {feature} {here.at}<tail>.
    Of {here.short} people [remember|draw|talk about] above all {feature}.
    Visitors [always|never] [noticed|asked about|tripped over] {feature} {here.at}.
    What made {here} [different|famous|dear to {a.him}] was {feature}.
    {Hero} had always liked {feature} {here.at}[|, and perhaps {other} even more].
""")
NEIGHBOUR = Phrases("""
    Next to {here} was {value}[|, only a wall between them|, so close that you could hear the
      voices].
    From {here} one saw {value}, which was right next to it.
    {Here.short} and {value} stood side by side[|, like an old couple].
""")
BUILDER = Phrases("""
    {Here} had been built by {value}, [who never finished it|long ago|in a single summer|and it
      leaned a little].
    A stone said that {value} had built {here}[|, and in which year].
    Everyone {here.at} knew the name of the builder, {value}.
""")
FEAST = Phrases("""
    Soon it would be {value}, the great feast of {town}, and {who} [swept the step|hung up
      ribbons|baked for three days|borrowed a drum].
    {Town} was [full of lanterns|hung with flags|smelling of <food>]: it was {value}, the yearly
      feast.
    In {town} they call the yearly feast {value}, and {who} had never missed it.
""")
RIVER = Phrases("""
    The river that flows through {town} is called {value}, and {who} [had fallen into it once|knew
      every bend|never learned to swim].
    {Who} [watched|listened to|threw a stone into] {value}, the river of {town}.
""")
STRANGER = Phrases("""
    A [pedlar|pilgrim|soldier|juggler|knife grinder|fortune teller|runaway] [came through|passed
      by|rested a while] {here.at} and told {a} of [a city on stilts|a war|the sea|a two-headed
      calf|mountains that smoke|a queen with no nose].
    A [cart|coach|sledge|barge] full of [oranges|mirrors|nuns|geese|sand|clocks] [went by|stopped]
      {here.at}, and {who} [stared|asked where it was going|waved].
    Some [musicians|recruits|acrobats|wedding guests|surveyors] were {here.at}, [and it was loud
      until late|asking for beds|and everybody watched].
    {Who} [gave directions to|shared <food> with|was cheated by|argued with] a
      [pedlar|traveller|tax collector|priest|captain] {here.at}.
""")


@event(weight=6)
def meet(scene: Scene) -> bool:
    """Bring a new character into the story."""
    strangers = [person for person in scene.world.people if person.place is None]
    if not strangers or len(scene.company()) > 2:
        return False
    newcomer = scene.dice.pick(strangers)
    someone = scene.introduce(newcomer)
    scene.tell(
        MEET,
        b=newcomer,
        someone=someone,
        doing=scene.phrase(DOING, b=newcomer),
        came=scene.phrase(CAME),
    )
    unseen = scene.world.unseen()
    if unseen and scene.dice.chance(0.5):
        thing = scene.dice.pick(unseen)
        scene.world.appear(thing, scene.here)
        scene.world.take(newcomer, thing)
        scene.tell(CARRYING, b=newcomer, thing=thing)
    return True


@event(weight=1.5)
def describe_place(scene: Scene) -> bool:
    """Look around."""
    feature, other = scene.dice.sample(PLACES[scene.here.kind][1:], 2)
    scene.tell(DESCRIBE_PLACE, feature=feature, other=other)
    return True


@event(weight=1)
def name_neighbour(scene: Scene) -> bool:
    """Say what is next to this place."""
    return tell_fact(scene, NEIGHBOUR, scene.here, "neighbour")


@event(weight=1)
def name_builder(scene: Scene) -> bool:
    """Say who built this place."""
    return tell_fact(scene, BUILDER, scene.here, "builder")


@event(weight=0.6)
def prepare_feast(scene: Scene) -> bool:
    """Look forward to the feast of the town."""
    return tell_fact(scene, FEAST, scene.world.town, "feast")


@event(weight=0.6)
def name_river(scene: Scene) -> bool:
    """Say what the river is called."""
    return tell_fact(scene, RIVER, scene.world.town, "river")


@event(weight=0.9)
def stranger(scene: Scene) -> bool:
    """Let somebody without a name pass through."""
    scene.tell(STRANGER)
    return True
