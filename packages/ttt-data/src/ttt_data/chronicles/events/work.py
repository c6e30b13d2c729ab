"""Trades and chores."""

from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.vocabulary import JOBS

WORK = Phrases("""
    {Who} {activity}<tail>.
    {Who} {activity}, [stopped to rest|wiped {a.his} brow|had a bite to eat], and {then}.
    {When}, {a} {activity}.
    Like any [good|honest|busy] {a.job}, {who} {activity}<tail>.
    {Who} {activity} [until dusk|all day|before breakfast|once more], for work [waits for
      nobody|is the best medicine|was work].
    First {who} {activity}; then {a.he} {then}.
""")
REPAIR = Phrases("""
    {Who} [mended|patched|fixed|oiled] [a hinge|the pump|a broken step|a loose shutter|the
      handcart|a stool|a hole in the fence] {here.at}<tail>.
    Something {here.at} was always [broken|leaking|loose], and {who} [saw to it|mended it with
      wire|hit it with a hammer].
    {Who} borrowed [a ladder|nails|a saw|a pot of paint] and repaired [the gutter|the gate|the
      roof|a window frame] {here.at}.
""")
COOK = Phrases("""
    {Who} made <food> and [ate it alone|shared it with the <birds>|burned {a.his} tongue]<tail>.
    {Who} [put a pot on the fire|peeled a heap of turnips|chopped an onion and wept], and in the
      end they had <food>.
    They served <food> [that day|at noon|by candlelight], and {who} [ate|had] [<few> helpings|a
      little|more than {a.his} share].
    {Hero} was hungry and [ate|bought|begged] some <food><tail>.
""")
CHORE = Phrases("""
    {Who} [fetched water|chopped wood|swept the floor|beat a carpet|washed <few> shirts|carried
      out the ashes|peeled potatoes|stacked logs] {here.at}<tail>.
    {Who} had to [fetch water|chop wood|wash up|air the beds|feed the hens], and [did
      so|groaned|got it done] before [noon|supper|anybody asked].
    Somebody had to [scrub the steps|clean the chimney|empty the rain barrel] {here.at}, and it
      was {a} who did.
""")
TEACH = Phrases("""
    {Who} showed {b} how a {a.job} works: {a.he} {activity}, and {b} [watched|tried it too|got it
      wrong twice].
    "[Slower|Not like that|Once more|That is better]," <said> {a}, who was teaching {b} [to
      whittle|to tie a bowline|to bake|to swim|long division].
    {B} helped {a}, who {activity}, and [they talked of <food>|neither said a word|it went
      quickly].
    {Who} [lent a hand to|worked alongside|got in the way of] {b} the {b.job}, who {theirs}.
""")
TIRED = Phrases("""
    By the end of it {who} was [tired|covered in dust|as black as a <bird>|too tired to eat].
    {A.his} [back|head|feet|hands] ached, but {who} [did not complain|was content|whistled all the
      same].
    {Who} [fell asleep|nodded off|dozed] {here.at} with {a.his} [boots on|mouth open|hat over
      {a.his} eyes].
""")


@event(weight=3)
def work(scene: Scene) -> bool:
    """Do what one's trade asks for."""
    first, second = scene.dice.sample(JOBS[scene.actor.job], 2)
    scene.tell(WORK, activity=first, then=second)
    return True


@event(weight=0.8)
def repair(scene: Scene) -> bool:
    """Mend something that belongs to the place."""
    scene.tell(REPAIR)
    return True


@event(weight=1)
def cook(scene: Scene) -> bool:
    """Eat, at last."""
    scene.tell(COOK)
    return True


@event(weight=1)
def chore(scene: Scene) -> bool:
    """Do what has to be done."""
    scene.tell(CHORE)
    return True


@event(weight=1)
def work_together(scene: Scene) -> bool:
    """Work with someone, or teach them."""
    companion = scene.companion()
    if companion is None:
        return False
    scene.tell(
        TEACH,
        b=companion,
        activity=scene.dice.pick(JOBS[scene.actor.job]),
        theirs=scene.dice.pick(JOBS[companion.job]),
    )
    return True


@event(weight=0.5)
def grow_tired(scene: Scene) -> bool:
    """Feel the day in one's bones."""
    scene.tell(TIRED)
    return True
