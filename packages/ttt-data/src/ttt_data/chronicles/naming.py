"""Invented names. Each document has sounds of its own, so its words resemble one another."""

import re
from collections.abc import Sequence

from ttt_data.chronicles.block import words
from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.entities import Sex

_ONSETS = words("""
    b bl br c cl cr d dr f fl fr g gl gr h j k kl kn l m n p pl pr qu r s sk sl sn st t th tr tw v
    w wr y z sh sw
""")
_VOWELS = words("a e i o u a e i o ai ea ie oo ou au ee")
_MIDDLES = words("""
    b d g k l m n p r s t v z ld ll lm ln lt lv mb mm mp nd nk nn nt rb rd rk rl rm rn rr rt rv sk
    sp ss st th tt v x zz
""")
_PERSON_ENDINGS = {
    "she": words("a a a e i ia is el en ina ette iss ane ora y"),
    "he": words("o o o an er ik us or in em ard ock ull oth am"),
}
_TOWN_ENDINGS = words("""
    ford wick ham stead mere ton by dale hollow moor combe gate haven field ley mouth burn cliff
    well bridge marsh holt worth ness
""")
_NOUN_ENDINGS = words("o a et ock ling ip um urn ot ick elle on ard oon imp ub")
_TRIPLE_LETTER = re.compile(r"(.)\1\1")


class Naming:
    """Makes names that are all different within one document."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._onsets = dice.sample(_ONSETS, 16)
        self._vowels = dice.sample(_VOWELS, 9)
        self._middles = dice.sample(_MIDDLES, 18)
        self._used: set[str] = set()

    def person(self, sex: Sex) -> str:
        """Return a first name, such as Brenno or Talivena."""
        return self._new(_PERSON_ENDINGS[sex]).capitalize()

    def town(self) -> str:
        """Return the name of a town or village, such as Drossford."""
        return self._new(_TOWN_ENDINGS).capitalize()

    def word(self) -> str:
        """Return a common noun in lower case, such as brillock."""
        return self._new(_NOUN_ENDINGS)

    def password(self) -> str:
        """Return two words of no meaning, such as "velo druma"."""
        return f"{self.word()} {self.word()}"

    def _stem(self) -> str:
        pick = self._dice.pick
        stem = pick(self._onsets) + pick(self._vowels) + pick(self._middles)
        return stem if self._dice.chance(0.8) else stem + pick(self._vowels) + pick(self._middles)

    def _new(self, endings: Sequence[str]) -> str:
        while True:
            made = self._stem() + self._dice.pick(endings)
            if made not in self._used and not _TRIPLE_LETTER.search(made):
                self._used.add(made)
                return made
