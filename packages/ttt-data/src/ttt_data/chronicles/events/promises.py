"""Promises, and what becomes of them."""

from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.world import Promise

PROMISE = Phrases("""
    {Who} promised to bring {b} {thing}<tail>.
    "I will bring you {thing}," <said> {a}. "[You promise|Your word on it|Really]?" asked {b}. "I
      promise," said {a}.
    {B} [wanted|needed|dreamed of] {thing}, and {who} [gave {a.his} word|promised] to bring it.
    "If only I had {thing}," <said> {b}. {A} [laughed|nodded|thought it over] and promised to
      bring it.
    {Who} and {b} shook hands on it: {a} was to bring {thing}.
""")
KEEP = Phrases("""
    {Who} kept {a.his} promise and [gave|handed] {b} {thing}<tail>.
    "A promise is a promise," <said> {a} and gave {b} {thing}. {B} [could hardly believe
      it|beamed|thanked {a.him} twice].
    {Hero} had promised {b} {thing}, and here it was; {b.he} [took it|accepted it] [with a bow|with
      both hands|gladly].
""")
REMIND = Phrases("""
    "[Remember|Do not forget|And] {thing}," <said> {b}. "[I have not forgotten|I gave my word|All
      in good time]," <replied> {a}.
    {B} asked after {thing}, and {who} [blushed|promised once more|said it would not be long].
    {Who} [told {b} that a promise takes time|made excuses about {thing}|said nothing of {thing}],
      and {b} [waited|understood|sighed].
""")
FRET = Phrases("""
    {Who} thought of {a.his} promise to bring {b} {thing}<tail>.
    The promise to {b} weighed on {a}, for {thing} was still [not delivered|to be brought].
""")


@event(weight=1.6)
def promise(scene: Scene) -> bool:
    """Promise someone who is here a thing that is not theirs."""
    companion = scene.companion()
    if companion is None or scene.world.promised_by(scene.actor):
        return False
    things = [thing for thing in scene.world.seen() if thing.holder in (None, scene.actor)]
    things = [thing for thing in things if not thing.hidden]
    if not things:
        return False
    thing = scene.dice.pick(things)
    scene.world.promise(Promise(scene.actor, companion, thing))
    scene.tell(PROMISE, b=companion, thing=thing)
    return True


@event(weight=30)
def keep_promise(scene: Scene) -> bool:
    """Hand over what was promised."""
    given = scene.world.promised_by(scene.actor)
    if given is None or given.thing.holder is not scene.actor or given.to not in scene.company():
        return False
    scene.world.give(scene.actor, given.to, given.thing)
    scene.world.fulfil(given)
    scene.tell(KEEP, b=given.to, thing=given.thing)
    return True


@event(weight=1.2)
def remind(scene: Scene) -> bool:
    """Be asked about a promise by the one it was made to."""
    given = scene.world.promised_by(scene.actor)
    if given is None or given.to not in scene.company():
        return False
    scene.tell(REMIND, b=given.to, thing=given.thing)
    return True


@event(weight=0.8)
def fret(scene: Scene) -> bool:
    """Have a promise on one's mind."""
    given = scene.world.promised_by(scene.actor)
    if given is None or given.to in scene.company():
        return False
    scene.tell(FRET, b=given.to, thing=given.thing)
    return True
