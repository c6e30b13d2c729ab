"""Learning, remembering, passing on what one knows."""

from ttt_data.chronicles.entities import Entity
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.topics import PAST, PRESENT

GOSSIP = Phrases("""
    "[Did you know|Have you heard]," <said> {a}, "that {fact}?" {B} [had not known|was not
      surprised|whistled|promised to keep it to {b.himself}].
    "You [may as well know|did not hear this from me, but I know] that {fact}," <said> {a}. {B}
      [nodded|pretended not to care|wanted to hear more].
    "They say that {fact}," <said> {a} to {b}. "[So they do|It is true|I know]," <replied> {b}.
    {A} leaned over to {b}. "{Fact}," {a.he} <said>.
""")
RECOLLECT = Phrases("""
    {Hero} [remembered|recalled|had not forgotten] that {fact}.
    It came back to {a}: {fact}.
    Sitting still, {a} [told {a.himself}|went over it again]: {fact}.
    {Who} made a knot in {a.his} handkerchief so as not to forget that {fact}.
    {Hero} knew one thing for certain: {fact}.
""")
LEARN_WORD = Phrases("""
    In {town} they have {noun.a}: that is {meaning}.
    {Who} [saw|came across|was shown] {noun.a}, that is to say {meaning}.
    A child asked {a} what {noun.a} was. "{Meaning}," <said> {a}, [and the child wrote it down|and
      gave the child an apple].
    For those who have never been to {town}: {noun.a} is {meaning}.
    {Who} explained to a stranger what {noun.a} is, namely {meaning}.
""")
USE_WORD = {
    "creature": Phrases("""
        A {noun} [crossed|ran over|sat in] the [path|yard|grass], and {who} [stood still|counted
          its toes|made a wish].
        {Hero} had [always wanted|once owned|never tamed] {noun.a}.
        [Two|Three|Some] {noun.s} were [asleep|fighting|playing] {here.at}, and {who}
          [watched|fed] them.
        {Who} heard {noun.a} [outside|under the floor|at night] and [could not sleep|was glad|left
          it some crumbs].
    """),
    "fruit": Phrases("""
        {Who} [ate|peeled|shared|stole] {noun.a}<tail>.
        The {noun.s} were [ripe|dear|small] that year, and {who} [bought|picked|pickled] <few>.
        {Who} [spat out the stone of|found a worm in|wiped] {noun.a}<tail>.
    """),
    "dish": Phrases("""
        {Who} [cooked|ate|burned|ordered] {noun.a}<tail>.
        There was {noun.a} for supper, and {who} [had two helpings|gave half to the cat|left
          nothing on the plate].
        Nobody in {town} made a better {noun} than {a.his} <kin>.
    """),
    "tool": Phrases("""
        {Who} [borrowed|mended|mislaid|sharpened] {noun.a}<tail>.
        Without {noun.a} it was slow work, but {who} [had patience|managed|did it].
        {Who} [leaned on|swore at|oiled] the {noun} and [rested|went on|sighed].
    """),
    "game": Phrases("""
        {Who} [won|lost|watched] a game of {noun}<tail>.
        Some [boys|old men|sailors] were playing {noun} {here.at}, and {who} [joined in|kept the
          score|knew better].
        {Who} [cheated|had luck|was out of practice] at {noun}<tail>.
    """),
}
READ_INSCRIPTION = Phrases("""
    {Who} saw that a word was [scratched|written|engraved|stamped] on {thing}: {value}.
    On {thing} {who} [read|made out|spelled out] the word {value}<tail>.
    [In small letters|Upside down|Half rubbed out], {thing} had a word on it, and the word was
      {value}.
    "{Value}," {a} read aloud, for that was what was [written|engraved] on {thing}.
""")
LEARN_MAKER = Phrases("""
    {Thing} had been made by {value}, [as everyone could see|who was long dead|who never made
      another|which made it worth more].
    {Hero} knew whose work {thing} was: {value} had made it[| one winter| for a bet| with only one
      hand].
    It was said that {value} made {thing}, and {who} [believed it|could tell by the edges].
""")
LEARN_PASSWORD = Phrases("""
    To get through the gate of {town} at night one had to say {value}, and {who} [practised
      it|whispered it now and then|knew it by heart].
    The password for the gate of {town} was {value}; {who} had it from [the watchman|{a.his}
      <kin>|a drunken soldier].
    "{Value}," [said|called] the [watchman|sentry] to {a}. "Those are the words for the gate of
      {town}. Do not forget them."
""")


def tell_fact(
    scene: Scene, phrases: Phrases, subject: Entity, attribute: str, **slots: Entity | str
) -> bool:
    """Tell a lasting fact for the first time; False if there is none or it was told before."""
    if attribute not in subject.facts or scene.world.has_told(attribute, subject):
        return False
    scene.tell(phrases, value=scene.world.state(subject, attribute), **slots)
    return True


@event(weight=1.5)
def gossip(scene: Scene) -> bool:
    """Pass on something the other may not know."""
    actor, companion = scene.actor, scene.companion()
    if companion is None:
        return False
    known = scene.draw_topic(
        lambda topic, value: (
            scene.knows(actor, topic)
            and topic.subject not in (actor, companion)
            and value not in (str(actor), str(companion))
        )
    )
    if known is None:
        return False
    scene.tell(GOSSIP, b=companion, fact=scene.recall(known, PRESENT))
    scene.world.witnesses.setdefault(known.topic, set()).add(companion.key)
    return True


@event(weight=1)
def recollect(scene: Scene) -> bool:
    """Remember something told before."""
    actor = scene.actor
    known = scene.draw_topic(
        lambda topic, _: topic.subject is not actor and scene.knows(actor, topic)
    )
    if known is None:
        return False
    scene.tell(RECOLLECT, fact=scene.recall(known, PAST))
    return True


@event(weight=2)
def learn_word(scene: Scene) -> bool:
    """Explain a word that exists only here."""
    untold = [noun for noun in scene.world.nouns if not scene.world.has_told("meaning", noun)]
    if not untold:
        return False
    noun = scene.dice.pick(untold)
    scene.tell(LEARN_WORD, noun=noun, meaning=scene.world.state(noun, "meaning"))
    return True


@event(weight=2)
def use_word(scene: Scene) -> bool:
    """Use a word explained before."""
    known = [noun for noun in scene.world.nouns if scene.world.has_told("meaning", noun)]
    if not known:
        return False
    noun = scene.dice.pick(known)
    scene.tell(USE_WORD[noun.kind], noun=noun)
    return True


@event(weight=1.5)
def read_inscription(scene: Scene) -> bool:
    """Find the word written on a thing one holds."""
    belongings = scene.world.belongings(scene.actor)
    return any(
        tell_fact(scene, READ_INSCRIPTION, thing, "inscription", thing=thing)
        for thing in belongings
    )


@event(weight=1)
def learn_maker(scene: Scene) -> bool:
    """Learn who made a thing one holds."""
    belongings = scene.world.belongings(scene.actor)
    return any(tell_fact(scene, LEARN_MAKER, thing, "maker", thing=thing) for thing in belongings)


@event(weight=0.8)
def learn_password(scene: Scene) -> bool:
    """Learn the words that open the gate."""
    return tell_fact(scene, LEARN_PASSWORD, scene.world.town, "password")
