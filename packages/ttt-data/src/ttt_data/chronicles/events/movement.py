"""Going from place to place."""

from ttt_data.chronicles.entities import Person
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

GO = Phrases("""
    {Who} <walked> from {origin} to {there}<tail>.
    {Who} <left> {origin} and <walked> [on |over |]to {there}<tail>.
    {Who} [set out|set off|made] for {there}<tail>.
    {Who} <slowly> <left> {origin} and [did not stop before|went straight to] {there}.
    From {origin} {who} <walked> to {there}<tail>.
    {Who} had [seen enough of|no more business at|grown tired of] {origin.short} and <walked> to
      {there}.
    {Who} took the [short|long|muddy|shady|steep] [way|path|lane] [past the <few> poplars|along
      the hedge|by the ditch|under the arch] to {there}.
    It was [not far|a fair step|only a short walk|uphill all the way] to {there}, and {who}
      <walked> there<tail>.
    The [road|path] from {origin.short} to {there} was [dry|wet|empty|full of carts]; {who}
      [followed|took] it<tail>.
    {Who} <walked> until {a.he} <reached> {there}.
""")
GO_TOGETHER = Phrases("""
    {Who} and {b} <walked> to {there} together<tail>.
    "[Come with me|Walk with me|Let us go] to {there}," <said> {a}, and {b} [came|went along|did
      not say no].
    {Who} took {b} [by the arm|by the sleeve|along], and they <walked> [side by side|in step|one
      behind the other] to {there}.
    Since {b} [had nothing better to do|was going the same way|hated to walk alone], {who} and
      {b.he} <walked> to {there} together.
    {Who} [asked|begged|invited] {b} to come along, and [an hour|half an hour|not much] later they
      both stood {there.at}.
    Talking of [nothing much|<food>|old times|the <beast> in the lane], {a} and {b} <walked> to
      {there}.
""")
FOLLOW = Phrases("""
    {Hero} wanted to [see|find|talk to|ask something of] {b} and <walked> to {there}, where {b.he}
      was.
    Somebody had seen {b} {there.at}, so {who} <walked> there<tail>.
    {Who} <walked> to {there} and found {b} [there|waiting|busy with nothing|in a <trait> mood].
    {B} was {there.at}, and {who} [could not wait|did not like to wait|had a question]; {a.he}
      <walked> there<tail>.
    To keep {b} company, {who} <walked> to {there}.
""")
TURN_BACK = Phrases("""
    {Who} had [forgotten something|changed {a.his} mind|left the lamp burning] and [went
      back|turned back|hurried back] to {there}<tail>.
    {Who} turned round and <walked> back to {there}<tail>.
    It was [no use|no good|too noisy] {origin.at}, so {who} [went back|returned] to {there}.
    {Who} [returned|came back] to {there}<tail>.
    The way back to {there} seemed [longer|shorter|darker] than before, but {who} [took it|managed
      it|did not mind].
""")
ERRAND_WITH_THING = Phrases("""
    {Hero} had not forgotten {a.his} promise, and <walked> to {there} to [look for|find|see] {b}.
    With {thing} in {a.his} [bag|hands|basket], {who} <walked> to {there}, where {b} was.
    {Who} <walked> to {there} to bring {b} {thing}.
""")
ERRAND_FOR_THING = Phrases("""
    {Who} <walked> to {there}, for that was where {thing} [was|lay|had been left].
    Because of {a.his} promise to {b}, {who} <walked> to {there} to [fetch|look for|get] {thing}.
    {Hero} needed {thing}, and it was {there.at}; so {a.he} <walked> there<tail>.
""")
LINGER = Phrases("""
    {Who} [stayed|waited|sat down|rested] {here.at} for [a while|an hour|the space of a song|as
      long as {a.he} could][|, <doing>].
    {Who} [walked|paced] [up and down|round and round] {here.at}<tail>.
    {Who} leaned against [a wall|a post|the door] and [watched|looked at] [the people|the
      <birds>|the clouds|nothing at all].
    {Who} [closed {a.his} eyes|took off {a.his} boots|ate <food> out of a cloth|sharpened a
      stick]<tail>.
    There was [nothing|little] to do {here.at}, and {who} did it <slowly>.
    {Who} looked [round|about] {a.him}: {sky}.
""")


def _tell_walk(scene: Scene, phrases: Phrases, companion: Person | None = None) -> bool:
    """Go, alone or with someone, to a place drawn from the others."""
    origin, there = scene.here, scene.dice.pick(scene.elsewhere())
    scene.world.move(scene.actor, there)
    if companion:
        scene.world.move(companion, there)
        scene.tell(phrases, origin=origin, there=there, b=companion)
    else:
        scene.tell(phrases, origin=origin, there=there)
    return True


@event(weight=5)
def go(scene: Scene) -> bool:
    """Go somewhere else."""
    return _tell_walk(scene, GO)


@event(weight=3)
def go_together(scene: Scene) -> bool:
    """Go somewhere else with one of those who are here."""
    companion = scene.companion()
    return companion is not None and _tell_walk(scene, GO_TOGETHER, companion)


@event(weight=5)
def follow(scene: Scene) -> bool:
    """Go where somebody else is."""
    others = [person for person in scene.world.met() if person.place is not scene.here]
    if not others:
        return False
    other = scene.dice.pick(others)
    if other.place is None:
        return False
    scene.world.move(scene.actor, other.place)
    scene.tell(FOLLOW, b=other, there=other.place)
    return True


@event(weight=1)
def turn_back(scene: Scene) -> bool:
    """Go back to where one was before."""
    origin, there = scene.here, scene.actor.previous
    if there is None:
        return False
    scene.world.move(scene.actor, there)
    scene.tell(TURN_BACK, origin=origin, there=there)
    return True


@event(weight=6)
def errand(scene: Scene) -> bool:
    """Go where a promise leads: to the promised thing, or with it to whom it was promised."""
    promise = scene.world.promised_by(scene.actor)
    if promise is None:
        return False
    _, to, thing = promise
    has_it = thing.holder is scene.actor
    there = to.place if has_it else thing.place
    if there is None or there is scene.here:
        return False
    scene.world.move(scene.actor, there)
    scene.tell(ERRAND_WITH_THING if has_it else ERRAND_FOR_THING, b=to, thing=thing, there=there)
    return True


@event(weight=0.8)
def linger(scene: Scene) -> bool:
    """Stay where one is."""
    scene.tell(LINGER)
    return True
