"""Coins: earning, spending, owing."""

from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.grammar import plural
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

COUNT = Phrases("""
    {Who} counted the coins in {a.his} purse: {coins} in all[|, no more and no less].
    {Who} [emptied|turned out] {a.his} purse and counted {coins}<tail>.
    In the purse of {a} there [was money, if not much|was some money]: {coins}, to be exact.
    {Hero} had {coins}, [which was enough|and hoped it would last|and told nobody|and kept {a.his}
      hand on them].
""")
EARN = Phrases("""
    {Who} [mended a fence|carried sacks|minded a stall|sang for a wedding|cleaned windows|caught
      rats|held horses|wrote a letter for a widow] and was paid {coins}<tail>.
    For [an hour's|a day's|some honest] work {who} [got|was given|received] {coins}.
    A [stranger|farmer|merchant|captain] gave {a} {coins} for [a good word|a drink of
      water|finding a lost dog|carrying a trunk].
    {Who} sold {a.his} old [hat|boots|stove|blankets] to a pedlar for {coins}.
""")
SPEND = Phrases("""
    {Who} bought <food> [from a stall|from a girl with a basket|at the back door] and paid {coins}
      for it.
    {Who} spent {coins} on [<food>|a pair of laces|a candle|a new hat|tobacco|needles|a
      bath]<tail>.
    {Who} lost {coins} at [cards|dice|skittles|dominoes] [to a sailor|to a man with no teeth|and
      swore never to play again].
    {Who} gave {coins} to a beggar[| with one shoe| who blessed {a.him}| and did not stay to be
      thanked].
    There was a [tax|toll|fine] to pay, and {who} paid {coins} <slowly>.
""")
FIND_COIN = Phrases("""
    Between [the stones|the boards|two roots] something shone: {who} had found {coins}!
    {Who} found {coins} [in an old coat|under a cushion|in a mouse hole|in the mud]<tail>.
""")
BUY = Phrases("""
    {Who} bought {thing} from {b} for {coins}<tail>.
    "{Coins}, and {thing} is [mine|sold|off your hands]," <said> {a}. {B} [took|counted|bit] the
      money and handed it over.
    {B} sold {a} {thing} for {coins}, [and both were pleased|and thought {b.himself} clever|not
      without regret].
    After much haggling {a} paid {b} {coins} and got {thing} for it.
""")
HAGGLE = Phrases("""
    "What do you want for {thing}?" asked {a}. "It is not for sale," <said> {b}[|, and that was
      that].
    {Who} offered {b} {coins} for {thing}, but {b.he} [only laughed|would not hear of it|shook
      {b.his} head].
    {B} asked {coins} for {thing}, and {who} [walked away|called it robbery|kept {a.his} purse
      shut].
""")
LEND = Phrases("""
    {Who} gave {b} {coins} [for the journey|out of kindness|to settle an old debt|for luck].
    {B} [needed|was short of] money, and {who} counted {coins} into {b.his} hand<tail>.
    "Here are the {coins} [I owe you|you lent my <kin>]," <said> {a}, and {b} put them in {b.his}
      purse.
""")


@event(weight=1.5)
def count_coins(scene: Scene) -> bool:
    """Say how many coins the actor has."""
    scene.tell(COUNT, coins=scene.count_coins(scene.actor))
    return True


@event(weight=1.2)
def earn(scene: Scene) -> bool:
    """Be paid by someone outside the story."""
    coins = scene.dice.between(2, 9)
    scene.world.pay(None, scene.actor, coins)
    scene.tell(EARN, coins=plural(coins, "coin"))
    return True


@event(weight=1.2)
def spend(scene: Scene) -> bool:
    """Pay someone outside the story."""
    if scene.actor.coins < 3:
        return False
    coins = scene.dice.between(2, min(8, scene.actor.coins))
    scene.world.pay(scene.actor, None, coins)
    scene.tell(SPEND, coins=plural(coins, "coin"))
    return True


@event(weight=0.5)
def find_coins(scene: Scene) -> bool:
    """Have a little luck."""
    coins = scene.dice.between(2, 5)
    scene.world.pay(None, scene.actor, coins)
    scene.tell(FIND_COIN, coins=plural(coins, "coin"))
    return True


@event(weight=1.5)
def buy(scene: Scene) -> bool:
    """Get a thing from someone for money."""
    seller = scene.companion()
    if seller is None or scene.actor.coins < 3:
        return False
    wares = scene.world.belongings(seller)
    if not wares:
        return False
    thing = scene.dice.pick(wares)
    coins = scene.dice.between(2, min(12, scene.actor.coins))
    scene.world.pay(scene.actor, seller, coins)
    scene.world.give(seller, scene.actor, thing)
    scene.tell(BUY, b=seller, thing=thing, coins=plural(coins, "coin"))
    return True


@event(weight=0.7)
def haggle(scene: Scene) -> bool:
    """Fail to agree on a price."""
    owner = scene.companion()
    wares = scene.world.belongings(owner) if owner else []
    if owner is None or not wares:
        return False
    price = plural(scene.dice.between(2, 40), "coin")
    scene.tell(HAGGLE, b=owner, thing=scene.dice.pick(wares), coins=price)
    return True


@event(weight=0.8)
def hand_over_coins(scene: Scene) -> bool:
    """Give someone money."""
    companion = scene.companion()
    if companion is None or scene.actor.coins < 3:
        return False
    coins = scene.dice.between(2, min(9, scene.actor.coins))
    scene.world.pay(scene.actor, companion, coins)
    scene.tell(LEND, b=companion, coins=plural(coins, "coin"))
    return True
