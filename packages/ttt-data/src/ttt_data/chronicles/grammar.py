"""Small rules of English."""

import re
from collections.abc import Sequence

from ttt_data.chronicles.block import words

_UNITS = words("""
    no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""")
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
_NUMERALS = (
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)
_SMALL_WORDS = frozenset(words("a an the of and in on at by to under with"))

# By sound, not by letter: an hour, but a useful one-eyed unicorn. Marks may stand in between. That
# the "a" is a whole word is checked last: to start with plain characters makes the search fast.
_BEFORE_VOWEL = re.compile(
    r"([Aa]) (?=[\x01-\x03]*(?:[aeiAEI]|[oO](?!ne\b|nce)|[uU](?!ni|se)|ho(?:nest|ur)))"
    r"(?<![A-Za-z][Aa] )"
)


def articles(text: str) -> str:
    """Turn each "a" before a vowel sound into "an"."""
    return _BEFORE_VOWEL.sub(r"\1n ", text)


def number_word(number: int) -> str:
    """Spell a number from 0 ("no", as in "no coins") to 99; larger ones stay in digits."""
    if number < len(_UNITS):
        return _UNITS[number]
    if number > 99:
        return str(number)
    tens, unit = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")


def plural_of(noun: str) -> str:
    """Write the plural of a regular noun: "foxes", "owls"."""
    return f"{noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def plural(count: int, noun: str) -> str:
    """Write a count with its regular noun: "one coin", "two coins"."""
    return f"{number_word(count)} {noun if count == 1 else plural_of(noun)}"


def listing(items: Sequence[str]) -> str:
    """Join as in "a, b and c"; empty for no items."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def title(text: str) -> str:
    """Capitalise the words of a heading, the first one always."""
    words = text.split(" ")
    return " ".join(
        word if position and word in _SMALL_WORDS else word[:1].upper() + word[1:]
        for position, word in enumerate(words)
    )


def roman(number: int) -> str:
    """Write a number in Roman numerals."""
    out = ""
    for value, letters in _NUMERALS:
        count, number = divmod(number, value)
        out += letters * count
    return out
