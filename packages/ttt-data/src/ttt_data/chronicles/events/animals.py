"""Pets and wild animals."""

from ttt_data.chronicles.events.knowledge import tell_fact
from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

NAME_PET = Phrases("""
    {Hero} had a {a.pet} called {value}, [which followed {a.him} everywhere|which bit everyone
      else|as fat as a bishop|found one winter in a ditch].
    {A}'s {a.pet}, {value}, [was as well known as {a.himself}|slept in {a.his} hat|had one
      <colour> ear|could open doors].
    "{Value}! {Value}!" called {a}, for that was the name of {a.his} {a.pet}[|, and it came
      running|, but it did not come].
""")
PET_DEED = Phrases("""
    {Pet} [slept in the sun|chased a <bird>|stole a piece of <food>|rolled in the dust|had hurt
      its foot|would not eat|begged at every table], and {who} [scolded it|laughed|let it
      be|carried it about].
    {Who} [brushed|fed|looked for|talked to|washed] {pet}<tail>.
    {Pet} [sat at {a.his} feet|lay across the doorway|watched {a.him}] and [dreamed|waited|thought
      its own thoughts].
    There was a noise, but it was only {pet} [scratching|snoring|after a mouse|knocking over a
      pail].
""")
WILD = Phrases("""
    A [<colour>|grey|young|lame|old] <beast> [crossed|stood in|trotted over|vanished into] the
      [path|ditch|bracken|long grass], and {who} [held {a.his} breath|stood still|reached for a
      stone and let it fall].
    {Who} saw [a <beast>|two <beasts>|the tracks of a <beast>] {here.at}<tail>.
    Nobody had seen a <beast> {here.at} for years, and now {who} had.
""")
BIRDS = Phrases("""
    A <bird> [sang|called|built its nest|picked at the crumbs] {here.at}, and {who}
      [listened|whistled back|counted its calls|wished it luck].
    {Who} [fed the <birds>|threw a crust to a <bird>|imitated a <bird>|found a feather of a
      <bird>] {here.at}<tail>.
    The <birds> [gathered|quarrelled|fell silent|rose all together], as if [they knew
      something|somebody had called them|it were a holiday].
""")
HELP_ANIMAL = Phrases("""
    {Who} [freed|pulled|carried] a <beast> [from a snare|out of a drain|out of the road] and got
      [bitten|nothing|muddy boots] for it.
    A [farmer's|neighbour's] [cow|goat|pig] had [got loose|fallen in a ditch|eaten the washing],
      and {who} helped to [catch it|pull it out|calm it].
""")


@event(weight=1)
def name_pet(scene: Scene) -> bool:
    """Say what the actor's pet is called."""
    return tell_fact(scene, NAME_PET, scene.actor, "pet")


@event(weight=1.5)
def pet_deed(scene: Scene) -> bool:
    """Let a pet the reader knows do something."""
    if not scene.world.has_told("pet", scene.actor):
        return False
    scene.tell(PET_DEED, pet=scene.actor.facts["pet"])
    return True


@event(weight=0.6)
def wild_animal(scene: Scene) -> bool:
    """See a wild animal."""
    scene.tell(WILD)
    return True


@event(weight=0.6)
def birds(scene: Scene) -> bool:
    """Pay attention to the birds."""
    scene.tell(BIRDS)
    return True


@event(weight=0.4)
def help_animal(scene: Scene) -> bool:
    """Get an animal out of trouble."""
    scene.tell(HELP_ANIMAL)
    return True
