"""What a story is about: people, things, places, and the words that exist only there.

An entity knows how it may be written: `forms[""]` is its usual name, the other forms are pronouns
and shorter or indefinite names. `facts` holds what stays true of it for the whole story (a home, a
maker, a meaning), whether or not the reader has been told yet.
"""

from typing import Literal

from ttt_data.chronicles.grammar import plural_of
from ttt_data.chronicles.spans import name, plain

Sex = Literal["he", "she"]
_PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself", "man": "man"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself", "man": "woman"},
}


class Entity:
    """Anything that has a name.

    Attributes:
        key: the name without marks; unique in its document.
        forms: the ways to write it, with marks around the words of this document.
        facts: attribute to value, with marks.
    """

    __slots__ = ("facts", "forms", "key")

    def __init__(self, usual_name: str, **forms: str) -> None:
        self.key = plain(usual_name)
        self.forms = {"": usual_name, **forms}
        self.facts: dict[str, str] = {}

    def __str__(self) -> str:
        """The usual name, with its marks."""
        return self.forms[""]


class LongNamed(Entity):
    """Something whose full name would be tiresome to repeat: the copper key, then the key.

    Attributes:
        brief: how to speak of it again in the same paragraph.
    """

    __slots__ = ("brief",)

    def __init__(self, usual_name: str, brief: Entity, **forms: str) -> None:
        super().__init__(usual_name, **forms)
        self.brief = brief


class Place(LongNamed):
    """Somewhere to be. Forms: `at` with its preposition, `short` without what tells it apart.

    Attributes:
        kind: what sort of place it is, a key of `vocabulary.PLACES`.
    """

    __slots__ = ("kind",)

    def __init__(self, usual_name: str, kind: str, preposition: str) -> None:
        short = f"the {kind}"
        brief = Entity(short, at=f"{preposition} {short}", short=short)
        super().__init__(usual_name, brief, at=f"{preposition} {usual_name}", short=short)
        self.kind = kind


class Person(Entity):
    """A character. Forms: the pronouns under their masculine spelling, `man`, `job`, `trait`.

    Attributes:
        place: where they are; None until they enter the story.
        previous: where they were before that.
        coins: what is in their purse.
        rivals: keys of people they have quarrelled with and not made up.
    """

    __slots__ = ("coins", "job", "place", "previous", "rivals", "sex")

    def __init__(self, first_name: str, sex: Sex, job: str, trait: str, coins: int) -> None:
        super().__init__(name(first_name), job=job, trait=trait, **_PRONOUNS[sex])
        self.sex: Sex = sex
        self.job = job
        self.coins = coins
        self.place: Place | None = None
        self.previous: Place | None = None
        self.rivals: set[str] = set()


class Thing(LongNamed):
    """An object. Forms: `a` indefinite, `bare` without article.

    Attributes:
        place: where it lies, or None while someone has it or it has not appeared.
        holder: who has it, or None.
        hidden: it lies where nobody sees it.
        giver: who gave it to its holder, or None if they took it.
        found: where its holder picked it up, if nobody has passed it on since.
    """

    __slots__ = ("found", "giver", "hidden", "holder", "place")

    def __init__(self, bare: str, noun: str, *, indefinite: bool = True) -> None:
        some = f"{'a' if indefinite else 'the'} {bare}"
        super().__init__(f"the {bare}", Entity(f"the {noun}", a=some, bare=noun), a=some, bare=bare)
        self.place: Place | None = None
        self.holder: Person | None = None
        self.hidden = False
        self.giver: Person | None = None
        self.found: Place | None = None


class Noun(Entity):
    """An invented common noun. Forms: `a` with article, `s` plural.

    Attributes:
        kind: what sort of word it is: creature, fruit, dish, tool, game.
    """

    __slots__ = ("kind",)

    def __init__(self, word: str, kind: str, meaning: str) -> None:
        super().__init__(name(word), a=f"a {name(word)}", s=name(plural_of(word)))
        self.kind = kind
        self.facts["meaning"] = meaning


class Town(Entity):
    """The town of the story; what everybody there knows is among its facts."""

    __slots__ = ()
