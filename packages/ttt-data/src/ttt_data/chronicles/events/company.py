"""Talk, song and play."""

from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.grammar import listing
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

GREET = Phrases("""
    "[Good day|Well, well|There you are|What brings you here|Still alive], {b}[!|?]" <said> {a}.
      "[And to you|I might ask the same|More or less|As you see]," <replied> {b}.
    {Who} [nodded to|waved to|shook hands with|embraced|bowed to] {b}<tail>.
    {Who} and {b} [talked|chatted|gossiped] for a while {here.at} about [<food>|the price of
      wool|the weather|ghosts|people they had known|nothing at all].
    "{B} the {b.job}!" cried {a}. "[You have not changed|How is business|Sit down|Have some
      <food>]."
""")
SMALL_TALK = Phrases("""
    "[The roads are bad|Bread is dearer again|It will be a hard winter|My knee tells me it will
      rain|They are building a new wall]," <said> {a}. "[So I hear|That is nothing new|You do not
      say|Somebody should do something]," <replied> {b}.
    "[I once saw|My <kin> kept|You should have seen] [a <colour> <beast>|a <bird> that could
      count|a man eat <few> pies]," <said> {a}. {B} [did not believe a word|laughed until {b.he}
      coughed|had heard it before].
    {B} told {a} a long story about [a <beast>|a wedding|a leaking boat|a <trait> bishop|two
      thieves], and {a} [laughed|fell asleep|asked for the end|did not understand it].
    "Do you like <food>?" asked {a}. "[Not since I was ill|Better than <food>|Who does not|Only on
      Sundays]," <replied> {b}.
""")
SONG = Phrases("""
    {Who} sang a song about [a <colour> <bird>|a drowned bell|a <beast> and a <bird>|a miller's
      daughter|the road to {town}], and {b} [joined in|beat time|wept|knew a better verse].
    {B} played a [tune|reel|waltz] on a [comb|borrowed fiddle|leaf], and {who}
      [danced|clapped|covered {a.his} ears].
    They sang [all <few> verses|in two voices|out of tune] {here.at}, {a} and {b}, until [it grew
      late|somebody threw a shoe|the dogs howled].
""")
GAME = Phrases("""
    {Who} and {b} played [cards|chess|dice|draughts|marbles], and {winner} won [twice|easily|by
      one point|as always].
    They [ran a race|arm-wrestled|threw stones at a post|tried who could stay silent longest], {a}
      and {b}, and {winner} won.
    {B} bet {a} <food> that {b.he} could [jump the ditch|guess {a.his} thoughts|whistle with a
      full mouth], and {winner} won the bet.
""")
RIDDLE = Phrases("""
    "{riddle}?" <asked> {a}. {B} <hesitated>. "{solution}!" {b.he} [cried|guessed|said at last].
      "[Right|You knew it already|Clever]," said {a}.
    {A} knew a riddle: "{riddle}?" {B} [gave up|guessed wrong three times|had to think], and it
      was {lower}.
""")
RIDDLES = (
    ("What has teeth and cannot bite", "A comb"),
    ("What goes up and never comes down", "Your age"),
    ("What has a neck and no head", "A bottle"),
    ("What grows when it eats and dies when it drinks", "A fire"),
    ("What runs all day and stays in bed", "A river"),
    ("What has one eye and cannot see", "A needle"),
    ("What is full of holes and holds water", "A sponge"),
    ("What has hands and no fingers", "A clock"),
    ("What gets wet while it dries you", "A towel"),
    ("What walks on four legs all night and never leaves the room", "A bed"),
    ("What falls and never breaks", "Night"),
    ("What has leaves and is not a tree", "A book"),
)
GATHERING = Phrases("""
    {All} sat together {here.at} and [ate <food>|told lies|listened to the fire|said little].
    There were {all} {here.at}, [and nobody wanted to leave first|all talking at once|as in a
      family portrait].
    {All} [drew lots|took turns|voted]: who was to [fetch more wood|tell the next story|wake the
      {b.job}]?
""")
FAREWELL = Phrases("""
    "[Until tomorrow|Mind how you go|God keep you|Do not be a stranger]," <said> {a} to {b}. {B}
      [waved|was slow to go|had one more thing to say].
    {Who} said [good night|goodbye|farewell] to {b} <slowly>, [though neither went far|and neither
      moved|as if for years].
""")
ALONE = Phrases("""
    There was nobody {here.at} but {a}, [and that was restful|who talked to the wall|and the
      <birds>].
    {Hero} was alone {here.at} and [sang|made plans|practised a speech|tried to stand on {a.his}
      head]<tail>.
""")


@event(weight=1.5)
def greet(scene: Scene) -> bool:
    """Say good day."""
    companion = scene.companion()
    if companion is None:
        return False
    scene.tell(GREET, b=companion)
    return True


@event(weight=1.2)
def small_talk(scene: Scene) -> bool:
    """Talk of nothing in particular."""
    companion = scene.companion()
    if companion is None:
        return False
    scene.tell(SMALL_TALK, b=companion)
    return True


@event(weight=0.7)
def song(scene: Scene) -> bool:
    """Make music."""
    companion = scene.companion()
    if companion is None:
        return False
    scene.tell(SONG, b=companion)
    return True


@event(weight=0.7)
def game(scene: Scene) -> bool:
    """Play, with a winner."""
    companion = scene.companion()
    if companion is None:
        return False
    winner = scene.dice.pick((str(scene.actor), str(companion)))
    scene.tell(GAME, b=companion, winner=winner)
    return True


@event(weight=0.4)
def riddle(scene: Scene) -> bool:
    """Ask a riddle; its answer is common knowledge, so it does not count as a question."""
    companion = scene.companion()
    if companion is None:
        return False
    asked, solution = scene.dice.pick(RIDDLES)
    lower = solution[0].lower() + solution[1:]
    scene.tell(RIDDLE, b=companion, riddle=asked, solution=solution, lower=lower)
    return True


@event(weight=0.8)
def gather(scene: Scene) -> bool:
    """Sit together, three or more."""
    company = scene.company()
    if len(company) < 2:
        return False
    names = [str(person) for person in (scene.actor, *company)]
    scene.tell(GATHERING, all=listing(names), b=company[0])
    return True


@event(weight=0.5)
def farewell(scene: Scene) -> bool:
    """Take leave."""
    companion = scene.companion()
    if companion is None:
        return False
    scene.tell(FAREWELL, b=companion)
    return True


@event(weight=0.4)
def be_alone(scene: Scene) -> bool:
    """Have a place to oneself."""
    if scene.company():
        return False
    scene.tell(ALONE)
    return True
