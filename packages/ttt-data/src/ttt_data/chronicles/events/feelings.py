"""Moods, dreams, quarrels."""

from ttt_data.chronicles.events.knowledge import tell_fact
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

MOOD = Phrases("""
    {Who} [sighed|laughed|smiled|frowned|yawned|shivered|blushed|wept a little|kicked a stone|bit
      {a.his} lip|clapped {a.his} hands]<tail>.
    {Who} felt [glad|sad|cross|uneasy|foolish|lucky|lonely|proud|hopeful|ashamed], [and could not
      say why|which did not last|and it showed|though nothing had happened].
    {Hero} was in [a good|a bad|a strange|an easy] mood that [day|hour|week]<tail>.
    {Hero} [could have danced|wanted to hide|wished {a.himself} far away|felt at home|missed
      somebody]<tail>.
    For [a moment|an instant|one long minute] {who} was [as happy as a <bird>|afraid|close to
      tears|sure that all was well].
""")
DREAM = Phrases("""
    {Who} dreamed of a <colour> <beast> that [spoke|wore a crown|asked the way|could fly|wept],
      and woke [laughing|cold|before it was over].
    In a dream {a} [sailed|fell|flew|rode on a <bird>] over {town}, and [it was always
      Sunday|everyone waved|nobody knew {a.him}|the roofs were <colour>].
    {Who} [slept|dozed] and dreamed of [{thing}|<food>|{a.his} <kin>|a house without
      doors|stairs].
""")
QUARREL = Phrases("""
    {Who} and {b} quarrelled about [<food>|money|nothing|the right of way|an old debt|whose turn
      it was|the weather], and [neither gave way|both were wrong|the windows shook].
    "You are the most <trait> {b.man} in {town}," <said> {a}. {B} [turned pale|slammed the
      door|did not forgive that|threw a boot], and so they quarrelled.
    One [word|joke|look] too many, and {a} and {b} [were no longer friends|had quarrelled|did not
      speak].
""")
MAKE_UP = Phrases("""
    {Who} [held out a hand|brought <food>|was the first to laugh], and so the quarrel with {b} was
      [over|forgotten|made up].
    "I was wrong," <said> {a}. "[So was I|I know|It was nothing]," <replied> {b}, and their
      quarrel was over.
    {A} and {b} made up their quarrel [over <food>|with a handshake|by talking of something else].
""")
SULK = Phrases("""
    {Hero} had not forgiven {b} and [looked the other way|spoke to the wall|stayed at the far end]
      {here.at}.
    There was still [bad blood|a coldness|silence] between {a} and {b} after their quarrel.
""")
PRAISE = Phrases("""
    "[Nobody is as|You are really|It is good to be|I wish I were as] {b.trait}[|, {b}]," <said>
      {a}. {B} [blushed|laughed|bowed|pretended not to hear].
    {Who} [praised|thanked|teased] {b} for being so {b.trait}, and {b.he} [grew red|grinned|waved
      it away].
    {Who} [clapped {b} on the shoulder|winked at {b}|brought {b} a chair|saved the best piece for
      {b}]<tail>.
""")
COMFORT = Phrases("""
    {B} was [downcast|tired|homesick|out of sorts], and {who} [told {b.him} a joke|made tea|sat
      with {b.him}|found the right words].
    "It will [pass|mend|look better tomorrow]," <said> {a} <gently>. {B} [nodded|dried {b.his}
      eyes|was not so sure].
""")
CONFESS_FEAR = Phrases("""
    There was one thing {a} was afraid of: {value}.
    {Hero} [never admitted it|blushed to say so], but {value} frightened {a.him} [terribly|more
      than death|like nothing else].
    "I am afraid of {value}," <said> {a}, "[and always was|do not laugh|there, now you know]."
""")
NAME_LIKING = Phrases("""
    {Hero} was fond of {value}, [as everybody knew|and made no secret of it|more than was
      sensible].
    If there was one thing that pleased {a}, it was {value}.
    "Give me {value}," <said> {a}, "and I [am happy|ask for nothing more|will forgive anything]."
""")


@event(weight=1.2)
def mood(scene: Scene) -> bool:
    """Feel something."""
    scene.tell(MOOD)
    return True


@event(weight=0.7)
def dream(scene: Scene) -> bool:
    """Dream."""
    seen = scene.world.seen()
    if not seen:
        return False
    scene.tell(DREAM, thing=scene.dice.pick(seen))
    return True


@event(weight=0.8)
def quarrel(scene: Scene) -> bool:
    """Fall out with someone."""
    companion = scene.companion()
    if companion is None or companion.key in scene.actor.rivals:
        return False
    scene.actor.rivals.add(companion.key)
    companion.rivals.add(scene.actor.key)
    scene.tell(QUARREL, b=companion)
    return True


@event(weight=2)
def make_up(scene: Scene) -> bool:
    """End a quarrel."""
    rivals = [person for person in scene.company() if person.key in scene.actor.rivals]
    if not rivals:
        return False
    rival = scene.dice.pick(rivals)
    scene.actor.rivals.discard(rival.key)
    rival.rivals.discard(scene.actor.key)
    scene.tell(MAKE_UP, b=rival)
    return True


@event(weight=1)
def sulk(scene: Scene) -> bool:
    """Keep a quarrel going."""
    rivals = [person for person in scene.company() if person.key in scene.actor.rivals]
    if not rivals:
        return False
    scene.tell(SULK, b=scene.dice.pick(rivals))
    return True


@event(weight=1)
def praise(scene: Scene) -> bool:
    """Say something kind."""
    companion = scene.companion()
    if companion is None or companion.key in scene.actor.rivals:
        return False
    scene.tell(PRAISE, b=companion)
    return True


@event(weight=0.6)
def comfort(scene: Scene) -> bool:
    """Cheer someone up."""
    companion = scene.companion()
    if companion is None or companion.key in scene.actor.rivals:
        return False
    scene.tell(COMFORT, b=companion)
    return True


@event(weight=0.8)
def confess_fear(scene: Scene) -> bool:
    """Say what one is afraid of."""
    return tell_fact(scene, CONFESS_FEAR, scene.actor, "fears")


@event(weight=0.8)
def name_liking(scene: Scene) -> bool:
    """Say what one likes best."""
    return tell_fact(scene, NAME_LIKING, scene.actor, "likes")
