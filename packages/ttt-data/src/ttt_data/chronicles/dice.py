"""Draws from one seeded stream, through the only call Python promises never to change.

`random.Random.random()` gives the same sequence on every Python version; `choice`, `sample` and
`shuffle` carry no such promise. Documents must never change under their version number, so every
draw here is built on `random()` alone.
"""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """The source of all chance in one document.

    Args:
        seed: any text; equal texts give equal draws.
    """

    def __init__(self, seed: str) -> None:
        digest = hashlib.sha256(seed.encode()).digest()
        stream = random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - a corpus, not a secret
        self.random = stream.random

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """Return one item; `items` must not be empty."""
        return items[int(self.random() * len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Return `count` different items (all of them, shuffled, if there are fewer)."""
        pool = list(items)
        count = min(count, len(pool))
        for i in range(count):
            j = self.between(i, len(pool) - 1)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]
