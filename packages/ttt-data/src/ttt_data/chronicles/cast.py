"""Draws the world of a story: its town, people, things, places and invented words."""

from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.entities import Noun, Person, Place, Sex, Thing, Town
from ttt_data.chronicles.grammar import articles, listing, number_word
from ttt_data.chronicles.knobs import ChronicleKnobs
from ttt_data.chronicles.naming import Naming
from ttt_data.chronicles.sky import HOURS, WEATHERS, Sky
from ttt_data.chronicles.spans import name
from ttt_data.chronicles.templates import Phrases
from ttt_data.chronicles.vocabulary import (
    COLOURS,
    FEARS,
    HOUSE_PARTS,
    JOBS,
    LIKES,
    PETS,
    PLACE_QUALITIES,
    PLACES,
    QUALITIES,
    THINGS,
    TRAITS,
)
from ttt_data.chronicles.world import World

_HOMES = Phrases("""
    [near|behind|opposite|across from|not far from|next door to|a stone's throw from|within sight
      of] {place}
    in a [lane|yard|court|side street|hollow] [behind|near|close to|beyond] {place}
""")
_FEASTS = Phrases("""
    {name} Day
    the Night of {name}
    the Feast of {name}
    the Dance of {name}
""")
_GLOSSES = {
    "creature": Phrases("""
        a [small|shy|fat|long-legged|sleepy|spotted|tame] [animal|beast|bird|lizard|fish] with
          <colour> [fur|ears|feet|scales|eyes|spots|whiskers] that [eats|steals|hates|lives on]
          [moths|candles|pears|snails|cheese|soap|buttons|nettles|string]
        a kind of [<beast>|<bird>] that [sleeps all winter|climbs chimneys|never drinks|can be
          taught to dance]
    """),
    "fruit": Phrases("""
        a <colour> [fruit|berry|nut|root|pear] that tastes of
          [honey|salt|smoke|mint|cloves|rain|pepper|old wine]
        a [fruit|berry|melon] with <colour> [skin|pips|flesh], [sour|sweet|bitter] until the first
          frost
    """),
    "dish": Phrases("""
        a [pie|stew|soup|cake|pudding] made of [eels|turnips|chestnuts|oats|plums|leeks] and
          [cream|beer|vinegar|honey|mustard|ginger]
        a sort of [<food>] eaten [cold|at weddings|with the fingers|before a journey]
    """),
    "tool": Phrases("""
        a [hook|knife|fork|hammer|brush|pole] for [cutting reeds|picking pears|scraping
          hides|catching swarms|opening oysters|turning loaves|lighting lamps]
        a [wooden|bent|<colour>] [spoon|bar|needle|rake] used [by thatchers|for eels|to clean
          chimneys|in brewing]
    """),
    "game": Phrases("""
        a game played with <few> [stones|sticks|walnuts|knives|hats] on [a table|the ice|a
          chequered cloth|the stairs]
        a game in which [everyone lies|the loser sings|nobody may speak|the youngest begins]
    """),
}


def draw_world(dice: Dice, knobs: ChronicleKnobs) -> World:
    """Draw everything the story may use; nobody and nothing has entered it yet."""
    naming = Naming(dice)
    places = _places(dice, naming, dice.between(*knobs.places))
    people = _people(dice, naming, places, dice.between(*knobs.characters))
    season = dice.pick(tuple(WEATHERS))
    return World(
        town=_town(dice, naming),
        sky=Sky(season, dice.pick(WEATHERS[season]), dice.between(0, len(HOURS) - 1)),
        people=people,
        things=_things(dice, naming, dice.between(*knobs.things)),
        places=places,
        nouns=_nouns(dice, naming, dice.between(1, 4)),
    )


def _town(dice: Dice, naming: Naming) -> Town:
    town = Town(name(naming.town()))
    town.facts["feast"] = _FEASTS.text(dice.random, name=name(naming.word().capitalize()))
    town.facts["password"] = name(naming.password())
    town.facts["river"] = f"the {name(naming.word().capitalize())}"
    return town


def _places(dice: Dice, naming: Naming, count: int) -> list[Place]:
    places: list[Place] = []
    for kind in dice.sample(tuple(PLACES), count):
        shape = dice.between(0, 5)
        if shape < 2:
            usual_name = f"the {kind}"
        elif shape < 4:
            usual_name = f"the {dice.pick(PLACE_QUALITIES)} {kind}"
        elif shape < 5:
            usual_name = f"the {name(naming.town())} {kind}"
        else:
            usual_name = f"the {kind} of {name(naming.town())}"
        place = Place(usual_name, kind, PLACES[kind][0])
        place.facts["builder"] = name(naming.person(dice.pick(("he", "she"))))
        places.append(place)
    for place, neighbour in zip(places, [*places[1:], places[0]], strict=True):
        place.facts["neighbour"] = str(neighbour)
    return places


def _people(dice: Dice, naming: Naming, places: list[Place], count: int) -> list[Person]:
    people: list[Person] = []
    for job in dice.sample(tuple(JOBS), count):
        sex: Sex = dice.pick(("he", "she"))
        coins = dice.between(3, 40)
        person = Person(naming.person(sex), sex, job, dice.pick(TRAITS), coins)
        person.forms["pet"] = dice.pick(PETS)
        years = dice.between(19, 79)
        person.facts |= {
            "job": articles(f"a {job}"),
            "home": _HOMES.text(dice.random, place=dice.pick(places)),
            "house": listing(dice.sample(HOUSE_PARTS, 2)),
            "pet": name(naming.word().capitalize()),
            "origin": name(naming.town()),
            "likes": dice.pick(LIKES),
            "fears": dice.pick(FEARS),
            "years": str(years),
            "age": number_word(years),
        }
        people.append(person)
    _relate(dice, naming, people)
    return people


def _relate(dice: Dice, naming: Naming, people: list[Person]) -> None:
    """Make some of the cast brother and sister, and give others a sibling outside the story."""
    kin = {"he": "brother", "she": "sister"}
    if len(people) > 2 and dice.chance(0.6):
        one, other = dice.sample(people, 2)
        one.facts[kin[other.sex]] = str(other)
        other.facts[kin[one.sex]] = str(one)
    for person in people:
        sex: Sex = dice.pick(("he", "she"))
        if kin[sex] not in person.facts and dice.chance(0.6):
            person.facts[kin[sex]] = name(naming.person(sex))


def _things(dice: Dice, naming: Naming, count: int) -> list[Thing]:
    stuffs = {noun: adjectives for adjectives, nouns in THINGS.items() for noun in nouns}
    things: list[Thing] = []
    for noun in dice.sample(tuple(stuffs), count):
        stuff = dice.pick(stuffs[noun])
        shape = dice.between(0, 8)
        if shape == 0:
            thing = Thing(f"{noun} of {name(naming.town())}", noun, indefinite=False)
        elif shape < 4:
            thing = Thing(f"{stuff} {noun}", noun)
        elif shape < 6:
            thing = Thing(f"{dice.pick(COLOURS)} {noun}", noun)
        elif shape < 8:
            thing = Thing(f"{dice.pick(QUALITIES)} {stuff} {noun}", noun)
        else:
            thing = Thing(f"{dice.pick(QUALITIES)} {noun}", noun)
        if dice.chance(0.7):
            thing.facts["inscription"] = name(naming.word())
        if dice.chance(0.7):
            thing.facts["maker"] = name(naming.person(dice.pick(("he", "she"))))
        things.append(thing)
    return things


def _nouns(dice: Dice, naming: Naming, count: int) -> list[Noun]:
    nouns: list[Noun] = []
    for _ in range(count):
        kind = dice.pick(tuple(_GLOSSES))
        meaning = articles(_GLOSSES[kind].text(dice.random))
        nouns.append(Noun(naming.word(), kind, meaning))
    return nouns
