"""Season, weather and hour: the backdrop, which changes slowly and never contradicts itself."""

from dataclasses import dataclass

from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.templates import Phrases

HOURS = ("dawn", "morning", "noon", "afternoon", "evening", "night")

# Each season's weathers; a weather named twice is twice as common.
WEATHERS = {
    "spring": ("rain", "sun", "wind", "cloud", "fog", "sun"),
    "summer": ("sun", "heat", "thunder", "cloud", "wind", "heat"),
    "autumn": ("rain", "wind", "fog", "cloud", "sun", "storm"),
    "winter": ("snow", "frost", "cloud", "wind", "fog", "snow"),
}

# Whole clauses, so that they can follow "while" and "and" as well as stand alone.
_WEATHER = {
    "rain": Phrases("""
        [a fine|a thin|a steady|a grey|a warm] rain [fell|drifted|came down] over [the roofs|the
          fields|the lanes]
        [rain|water] [dripped|ran|trickled] from [every gutter|the eaves|the leaves|the chimney
          pots]
        the rain [drummed|pattered|tapped|whispered] on the [shutters|tiles|barrels|slates]
        puddles [filled|spread|shone] in the [ruts|yard|street]
        [the clouds|the hills] [wept|dripped] [without a pause|like a wet coat]
    """),
    "sun": Phrases("""
        the sun [shone|lay|slanted] [on the wet grass|through the branches|over the rooftops|on
          the windows]
        the sky was [clear|blue|washed clean|as bright as a plate]
        a [mild|golden|pleasant|soft] light [filled|warmed|crossed] the [street|valley|yard]
        [bees|flies|white moths] [hummed|danced|wandered] in the [sunlight|warm air|clover]
        shadows of [small|slow] clouds [slid|travelled] over the [meadows|hills]
    """),
    "wind": Phrases("""
        the wind [rattled|shook|tugged at] the [shutters|signboards|washing|loose tiles]
        a [sharp|salt|cold|restless|blustery] wind [blew|came] [from the east|off the water|down
          from the hills]
        [leaves|straws|feathers|scraps of paper] [raced|whirled|flew] [along the ground|over the
          wall|round the corner]
        the trees [bent|creaked|groaned|swayed]
        a gate [banged|clapped] [somewhere|again and again] in the [wind|gusts]
    """),
    "cloud": Phrases("""
        [low|heavy|woolly|ragged] clouds [hung|gathered|hurried] over the [town|hills|chimneys]
        the sky was [as grey as slate|the colour of pewter|dull and low]
        no sun [showed|came through]
        the day [stayed|was] [dim|grey|colourless|mild and dull]
    """),
    "fog": Phrases("""
        fog [lay|crept|hung] [on the fields|between the houses|over the water]
        the mist [swallowed|hid|blurred] [the far bank|the church tower|every corner|the lamps]
        [voices|footsteps|bells] sounded [near|muffled|strangely close] in the fog
        nobody could see [ten paces ahead|the other side of the street]
    """),
    "heat": Phrases("""
        the air [shimmered|trembled|stood still] above the [cobbles|road|stubble]
        [dogs|cats|chickens] [dozed|panted|lay] in [every patch of shade|the dust]
        it was too hot to [hurry|quarrel|think|sleep]
        the [stones|walls|tiles] were as warm as [bread|an oven]
        [crickets|grasshoppers] [sawed|sang|rasped] in the [dry|yellow] grass
    """),
    "thunder": Phrases("""
        thunder [rolled|growled|muttered] [behind the hills|far away|closer and closer]
        lightning [lit|whitened|split] the [sky|windows|clouds]
        the first [fat|heavy|warm] drops [fell|struck the dust]
        the air [smelled|tasted] of [iron|storm|wet dust]
    """),
    "storm": Phrases("""
        the storm [howled|roared|beat] [round the chimneys|at every door|over the roofs]
        [branches|slates|a shutter] [came down|broke loose|crashed] [in the lane|nearby]
        rain [flew|came] sideways and the [lamps|candles] [guttered|shook]
        the river [rose|swelled|foamed] [hour by hour|under the arches]
    """),
    "snow": Phrases("""
        snow [fell|drifted|settled] on the [roofs|fences|woodpiles|empty nests]
        [big|slow|dry|feathery] flakes [turned|floated|sank] [in the lamplight|past the window|out
          of a white sky]
        the [lanes|paths|steps] were [white|deep|soft] with [new snow|drifts]
        every [footstep|sound|wheel] was [muffled|softened] by the snow
    """),
    "frost": Phrases("""
        frost [glittered|lay|sparkled] on the [grass|railings|window panes|dead leaves]
        the [puddles|ponds|buckets] had [frozen|turned to ice]
        [breath|smoke] [rose|hung] [white|straight up] in the cold
        icicles [hung|gleamed] [under the eaves|from the pump]
    """),
}

_TURNS = {
    "rain": "it began to rain",
    "sun": "the sun came out",
    "wind": "a wind got up",
    "cloud": "clouds covered the sky",
    "fog": "fog rolled in",
    "heat": "it grew very hot",
    "thunder": "a thunderstorm came near",
    "storm": "a storm broke",
    "snow": "it began to snow",
    "frost": "it began to freeze",
}

_WHEN = {
    "dawn": Phrases("""
        at [first light|daybreak|cockcrow|dawn]
        before the [town|baker|sun] was [awake|up]
        while the [stars faded|lamps still burned]
        as the [sky|east] turned [pale|pink|grey]
    """),
    "morning": Phrases("""
        that morning
        in the [course of the|bright part of the|middle of the] morning
        after breakfast
        [soon|not long] after [breakfast|sunrise]
        while the [breakfast fire|kitchen stove] still [burned|smoked]
    """),
    "noon": Phrases("""
        at noon
        towards midday
        when the [bell|clock] struck twelve
        at the hour of [soup|dinner|the midday meal]
    """),
    "afternoon": Phrases("""
        that afternoon
        [late|early] in the afternoon
        when the [shadows grew long|dishes were washed|children came out to play]
        after [dinner|a short sleep|the midday rest]
    """),
    "evening": Phrases("""
        that evening
        [as|when] the [sun went down|lamps were lit|cows came home|light failed]
        at [dusk|supper time|twilight]
        when the [day's work was done|rooks had gone to roost|first star came out]
    """),
    "night": Phrases("""
        that night
        [long|an hour|a little] after [dark|nightfall|bedtime]
        by [starlight|lantern light|the light of the moon]
        when [all the windows were dark|the whole town slept|only the owls were awake]
        at [midnight|a late hour]
    """),
}

_NEXT_DAY = Phrases("""
    the next [day|morning]
    the day after
    [early|first thing] the next morning
    [two|three|some|a few] days later
    [a week|nearly a week] later
    when [another|a new] day [broke|came]
""")

_LATER = Phrases("""
    [soon|not long] after
    [a little|a quarter of an hour|some time] later
    presently
    before the hour was over
    at the same [hour|time]
""")

_SIGNS = {
    "spring": Phrases("""
        the [blackthorn|cherry tree|first hedge] was in [bud|flower|blossom]
        lambs [called|tottered] in the [fields|folds]
        [swallows|storks|the cuckoo] had come back
        the ditches were full of [marsh marigolds|frogspawn|running water]
    """),
    "summer": Phrases("""
        the hay [smelled sweet|stood high|was being carried in]
        [cherries|gooseberries|early plums] [hung|ripened] in every garden
        the evenings were [long|green and endless]
        children swam [in the river|below the weir]
    """),
    "autumn": Phrases("""
        [apples|nuts|acorns] [thudded|dropped] into the grass
        smoke from [leaf fires|the stubble] [hung|drifted] in the lanes
        the [geese|swallows] had [flown|gone] south
        the [beeches|vines|maples] had turned [copper|red|yellow]
    """),
    "winter": Phrases("""
        the [days|hours of light] were short
        woodsmoke [stood|hung] over [every roof|the town]
        the river [carried|was edged with] ice
        the [robins|sparrows] [begged|quarrelled] at the kitchen doors
    """),
}


@dataclass
class Sky:
    """The state of the backdrop.

    Attributes:
        season: spring, summer, autumn or winter; stays for the whole story.
        weather: one of the season's.
        hour: position in `HOURS`.
        new_day: the last step went past midnight and nobody has said so yet.
        hour_said: the hour has been named since it began.
    """

    season: str
    weather: str
    hour: int
    new_day: bool = False
    hour_said: bool = False

    def clause(self, dice: Dice) -> str:
        """Describe the weather in a clause that starts in lower case."""
        return _WEATHER[self.weather].text(dice.random)

    def sign(self, dice: Dice) -> str:
        """Describe the season in a clause that starts in lower case."""
        return _SIGNS[self.season].text(dice.random)

    def when(self, dice: Dice) -> str:
        """Say what time it is, as in "that evening"; no hour is named twice."""
        if self.new_day:
            self.new_day = False
            return _NEXT_DAY.text(dice.random)
        if self.hour_said:
            return _LATER.text(dice.random)
        self.hour_said = True
        return _WHEN[HOURS[self.hour]].text(dice.random)

    def pass_time(self, hours: int) -> None:
        """Step forward through `HOURS`."""
        self.hour += hours
        self.hour_said = self.hour_said and hours == 0
        if self.hour >= len(HOURS):
            self.hour, self.new_day = 1, True

    def turn(self, dice: Dice) -> str:
        """Change the weather and say how, in a clause."""
        others = [weather for weather in WEATHERS[self.season] if weather != self.weather]
        self.weather = dice.pick(others)
        return _TURNS[self.weather]
