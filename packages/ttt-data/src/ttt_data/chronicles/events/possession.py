"""Finding things, having them, and parting with them."""

from ttt_data.chronicles.entities import Thing
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

DISCOVER = Phrases("""
    [On the ground|Under a bench|Behind a barrel|On a ledge|In a corner|Between two stones]
      {here.at} lay {thing.a}.
    {Who} noticed {thing.a} [lying|forgotten|half buried] {here.at}<tail>.
    Someone had left {thing.a} {here.at}; nobody [knew who|could say when].
    There was {thing.a} {here.at}, [covered with dust|wrapped in straw|wet from the night|as if it
      had always been there].
    [A glint|A patch of <colour>|Something odd] caught {a.his} eye, and {who} saw that it was
      {thing.a}.
    {Who} [almost|nearly] [fell over|stepped on|overlooked] {thing.a} that lay {here.at}.
""")
TAKE = Phrases("""
    {Who} [picked up|took|lifted] {thing}<tail>.
    {Who} [picked up|took] {thing} and put it [in {a.his} bag|in {a.his} pocket|under {a.his}
      arm|in a basket]<tail>.
    {Thing} was still {here.at}, and {who} [took it|took it along|could not leave it there].
    {Who} [bent down|reached out|looked round first], and [a moment later|then] {thing} was
      {a.his} own.
    {Who} weighed {thing} in {a.his} hand, [found it heavy|found it light|liked it], and kept it.
    "[This may be useful|Better with me than in the rain|Whose is this? Mine, I think]," <said>
      {a}, and took {thing}.
    {Who} [wiped|blew] the [dust|dirt|sand] off {thing} and [took it|kept it|carried it off].
""")
UNEARTH = Phrases("""
    {Who} [dug|felt|poked] [about|in the straw|behind a loose stone] {here.at} and [found|pulled
      out] {thing}, which had been hidden there.
    [Behind a loose brick|Under the boards|Beneath a heap of sacks] {who} [found|came upon]
      {thing} [and took it|and laughed aloud|and could hardly believe it]. Now {a.he} had it.
    So that was where {thing} was hidden! {Who} [took it out|pulled it out] <slowly> and kept it.
""")
PUT_DOWN = Phrases("""
    {Who} [put down|set down|left] {thing} {here.at}<tail>.
    {Who} [forgot|left behind] {thing} {here.at}, [which was just like {a.him}|and did not
      notice].
    {Thing} had grown [heavy|tiresome], and {who} [put it down|left it] {here.at}.
    {Who} [laid|stood] {thing} [on a sill|on a shelf|in a dry spot|beside the door]
      {here.at}<tail>.
    {Hero} had no more use for {thing} and left it {here.at}.
""")
HIDE = Phrases("""
    {Who} [hid|buried|concealed] {thing} {here.at}<tail>.
    {Who} waited until nobody was looking and [hid|pushed] {thing} [under a board|behind a loose
      brick|in a hollow|beneath some sacks] {here.at}.
    So that no thief would [get|find|touch] it, {who} hid {thing} {here.at}.
    {Who} wrapped {thing} in [a cloth|an old sack|oilskin|straw] and hid it {here.at}<tail>.
""")
GIVE = Phrases("""
    {Who} gave {thing} to {b}<tail>.
    {Who} [handed|gave|passed] {b} {thing}<tail>.
    "[Take {thing}|Here, have {thing}|{Thing} is yours now]," <said> {a} to {b}, and {b.he} [took
      it|thanked {a.him}|could not refuse].
    {B} had [admired|wanted|asked for] {thing} for so long that {who} [gave it to {b.him}|made
      {b.him} a present of it].
    {Who} [held out|brought out] {thing}. {B} [took it|accepted it] [with both hands|with a
      bow|without a word|with a smile].
    {Who} made {b} a present of {thing}, and {b.he} [blushed|beamed|did not know what to say|was
      glad of it].
""")
SWAP = Phrases("""
    {Who} and {b} [made an exchange|struck a bargain|swapped]: {thing} for {other}. Now {b} had
      {thing} and {a} had {other}.
    {Who} offered {b} {thing} for {other}, and after some [talk|grumbling|thought] {b.he} agreed,
      so {a} [went off with|got] {other}.
    "Your {other.bare} for my {thing.bare}," <said> {a}. {B} [agreed|nodded|shook hands on it],
      and each [took|got|was content with] what the other gave up.
""")
SEARCH = Phrases("""
    {Who} [looked|searched|hunted] everywhere {here.at} for {thing} but did not find it<tail>.
    {Who} turned out {a.his} pockets, but {thing} was not [there|in any of them].
    Was {thing} {here.at}? {Who} looked [twice|under every stone|high and low], and it was not.
    {Who} asked [everyone|a passing soldier|three people] for news of {thing}, and learned nothing.
""")
TEND = Phrases("""
    {Who} [polished|wiped|cleaned|admired] {thing} [with {a.his} sleeve|until it shone|for the
      third time that day]<tail>.
    {Who} took out {thing} and [turned it over and over|looked at it for a long time|held it up to
      the light].
    {Who} [checked|felt] whether {thing} was still in {a.his} [bag|pocket|basket]. It was.
    {Hero} would not have [sold|parted with|exchanged] {thing} for [a horse|a crown|<few> cows].
    {Hero} carried {thing} [everywhere|about|under {a.his} coat], [and nobody asked why|as others
      carry a child].
""")
SHOW = Phrases("""
    {Who} showed {b} {thing}, and {b.he} [whistled|said nothing|wanted to touch it|was not
      impressed].
    "What [a fine|a strange|a handsome|a sorry|a remarkable] {thing.bare}," <said> {b}, for {a} had
      just taken it out.
    {B} asked to see {thing}. {A} [held it up|let {b.him} hold it|showed it] [for a
      moment|proudly|with some pride], then put it away again.
""")
THINK_OF = Phrases("""
    {Hero} [thought of|dreamed of|missed|longed for] {thing}[| now and then| more than {a.he}
      would admit].
    {Who} wondered what {a.he} would do [with|if {a.he} had|without] {thing}.
    [More than once|Again and again|All that time] {a.his} thoughts [went|turned] to {thing}.
""")


def _carried(scene: Scene) -> Thing | None:
    """Draw something the actor has and has not promised to anybody."""
    promise = scene.world.promised_by(scene.actor)
    kept = promise.thing if promise else None
    belongings = [thing for thing in scene.world.belongings(scene.actor) if thing is not kept]
    return scene.dice.pick(belongings) if belongings else None


@event(weight=4)
def discover(scene: Scene) -> bool:
    """Come upon a thing the story has not shown before."""
    unseen = scene.world.unseen()
    if not unseen:
        return False
    thing = scene.dice.pick(unseen)
    scene.world.appear(thing, scene.here)
    scene.tell(DISCOVER, thing=thing)
    return True


@event(weight=4)
def take(scene: Scene) -> bool:
    """Pick up a thing that lies in plain sight."""
    lying = scene.world.lying(scene.here)
    if not lying:
        return False
    thing = scene.dice.pick(lying)
    scene.world.take(scene.actor, thing)
    scene.tell(TAKE, thing=thing)
    return True


@event(weight=2)
def unearth(scene: Scene) -> bool:
    """Find a hidden thing."""
    hidden = scene.world.lying(scene.here, hidden=True)
    if not hidden:
        return False
    thing = scene.dice.pick(hidden)
    scene.world.take(scene.actor, thing)
    scene.tell(UNEARTH, thing=thing)
    return True


@event(weight=1.2)
def put_down(scene: Scene) -> bool:
    """Leave a thing where it can be seen."""
    thing = _carried(scene)
    if thing is None:
        return False
    scene.world.leave(scene.actor, thing)
    scene.tell(PUT_DOWN, thing=thing)
    return True


@event(weight=1.2)
def hide(scene: Scene) -> bool:
    """Leave a thing where nobody will see it."""
    thing = _carried(scene)
    if thing is None:
        return False
    scene.world.leave(scene.actor, thing, hidden=True)
    scene.tell(HIDE, thing=thing)
    return True


@event(weight=2)
def give(scene: Scene) -> bool:
    """Make someone a present."""
    thing, companion = _carried(scene), scene.companion()
    if thing is None or companion is None:
        return False
    scene.world.give(scene.actor, companion, thing)
    scene.tell(GIVE, thing=thing, b=companion)
    return True


@event(weight=1.5)
def swap(scene: Scene) -> bool:
    """Exchange one thing for another."""
    thing, companion = _carried(scene), scene.companion()
    if thing is None or companion is None:
        return False
    theirs = scene.world.belongings(companion)
    if not theirs:
        return False
    other = scene.dice.pick(theirs)
    scene.world.give(scene.actor, companion, thing)
    scene.world.give(companion, scene.actor, other)
    scene.tell(SWAP, thing=thing, other=other, b=companion)
    return True


@event(weight=0.8)
def search(scene: Scene) -> bool:
    """Look for a thing in the wrong place."""
    missing = [
        thing
        for thing in scene.world.seen()
        if thing.place is not scene.here and thing.holder is not scene.actor
    ]
    if not missing:
        return False
    scene.tell(SEARCH, thing=scene.dice.pick(missing))
    return True


@event(weight=1)
def tend(scene: Scene) -> bool:
    """Take pleasure in what one has."""
    thing = _carried(scene)
    if thing is None:
        return False
    scene.tell(TEND, thing=thing)
    return True


@event(weight=1)
def show(scene: Scene) -> bool:
    """Let someone look at a thing without letting go of it."""
    thing, companion = _carried(scene), scene.companion()
    if thing is None or companion is None:
        return False
    scene.tell(SHOW, thing=thing, b=companion)
    return True


@event(weight=0.7)
def think_of(scene: Scene) -> bool:
    """Long for a thing that is not at hand."""
    away = [thing for thing in scene.world.seen() if thing.holder is not scene.actor]
    if not away:
        return False
    scene.tell(THINK_OF, thing=scene.dice.pick(away))
    return True
