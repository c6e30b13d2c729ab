"""The sky, the season, the hours."""

from ttt_data.chronicles.events.registry import event
from ttt_data.chronicles.scene import Scene
from ttt_data.chronicles.templates import Phrases

DESCRIBE = Phrases("""
    {Sky}.
    {Sky}, and {sky_too}.
    Outside, {sky}.
    {When}, {sky}.
    {Who} looked up: {sky}.
    "[What weather|Weather for ducks|It could be worse|I have seen worse]," <said> {a}, for {sky}.
    {Hero} had never minded weather, and {sky}.
""")
TURN = Phrases("""
    Then {change}.
    {When}, {change}.
    [All at once|Without warning|Little by little|As {a} had foretold], {change}.
    "[Look at that|There|What did I tell you]," <said> {a}, for {change}.
    {Who} [felt it in {a.his} knees|turned up {a.his} collar|looked for shelter], and indeed
      {change}.
""")
SEASON = Phrases("""
    It was {season}: {sign}.
    {Sign}, and {sky}.
    That {season}, {sign}[| as in every year| earlier than usual].
    {Hero} [loved|could not bear|wrote letters about] the {season}, when {sign}.
""")
NIGHTFALL = Phrases("""
    Night came. {Who} [slept badly|slept like a stone|lay listening to the <bird>|dreamed of a
      <colour> <beast>].
    The lamps went out one by one, and {who} [slept|went to bed|lay down in {a.his}
      clothes]<tail>.
    {Who} [blew out the candle|pulled the blanket up|said {a.his} prayers], and that was the end
      of the day.
""")
SHELTER = Phrases("""
    {Sky}, so {who} stayed [close to the wall|under a roof|near the fire|indoors] {here.at} until
      it was over.
    Because {sky}, {who} and {b} [shared a blanket|waited together|told each other stories]
      {here.at}.
    {Who} lent {b} a [coat|scarf|hat], for {sky}.
""")


@event(weight=2)
def describe_weather(scene: Scene) -> bool:
    """Say what the weather is like."""
    scene.tell(DESCRIBE, sky_too=scene.world.sky.sign(scene.dice))
    return True


@event(weight=1)
def turn_weather(scene: Scene) -> bool:
    """Let the weather change."""
    scene.tell(TURN, change=scene.world.sky.turn(scene.dice))
    return True


@event(weight=0.8)
def describe_season(scene: Scene) -> bool:
    """Show what time of the year it is."""
    scene.tell(SEASON, season=scene.world.sky.season)
    return True


@event(weight=0.6)
def nightfall(scene: Scene) -> bool:
    """End the day; the scene goes on the next morning."""
    sky = scene.world.sky
    if sky.hour < 4:
        return False
    scene.tell(NIGHTFALL)
    sky.pass_time(6 - sky.hour)
    scene.new_paragraph()
    return True


@event(weight=0.7)
def shelter(scene: Scene) -> bool:
    """Wait for better weather in company."""
    companion = scene.companion()
    if companion is None or scene.world.sky.weather in ("sun", "cloud"):
        return False
    scene.tell(SHELTER, b=companion)
    return True
