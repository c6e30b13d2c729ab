"""Which documents are held out, when nothing but their content can decide.

A document goes to the split that a keyed hash of its text points to: wherever it stands, and in
whatever order the files are read, it goes to the same split, and so do all its copies. The hash is
a number in [0, 1); validation takes the lower end of that range and test the upper, so changing one
fraction moves no document in or out of the other.

A source of one document is cut into contiguous parts, training text first.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers.document import SourceDocument, Split

_KEY = b"ttt-data/splits/1"
_HASH_BYTES = 8


class Fractions(Struct, frozen=True):
    """Shares of the documents that are held out.

    Attributes:
        val: for validation, in [0, 1).
        test: for the final test, in [0, 1); the two leave something for training.

    Raises:
        DataError: on construction, if they do not.
    """

    val: float
    test: float

    def __post_init__(self) -> None:
        """Refuse fractions that leave nothing to train on."""
        if not (0 <= self.val < 1 and 0 <= self.test < 1 and self.val + self.test < 1):
            raise DataError(
                "val_fraction and test_fraction must be 0 or more and together below 1, "
                f"got {self.val} and {self.test}"
            )

    def share(self, split: Split) -> float:
        """Share of one split."""
        return {"train": 1 - self.val - self.test, "val": self.val, "test": self.test}[split]

    def facts(self) -> dict[str, float]:
        """The fractions as plain values, for a record."""
        return {"val": self.val, "test": self.test}


def take(
    documents: Iterable[SourceDocument], split: Split, fractions: Fractions
) -> Iterator[SourceDocument]:
    """Yield the documents of one split, in their order.

    Raises:
        DataError: there is only one document and it is too short to be cut.
    """
    if fractions.share(split) == 1:
        yield from documents
        return
    stream = iter(documents)
    first, second = next(stream, None), next(stream, None)
    if first is None:
        return
    if second is None:
        yield from _take_part(first, split, fractions)
        return
    for document in chain((first, second), stream):
        if split_of(document.text, fractions) == split:
            yield document


def split_of(text: str, fractions: Fractions) -> Split:
    """The split a text belongs to; white space around it does not count."""
    data = text.strip().encode()
    digest = hashlib.blake2b(data, digest_size=_HASH_BYTES, key=_KEY).digest()
    position = int.from_bytes(digest, "big") / (1 << 8 * _HASH_BYTES)
    if position < fractions.val:
        return "val"
    return "test" if position >= 1 - fractions.test else "train"


def cut(text: str, fractions: Fractions) -> dict[Split, str]:
    """Cut a text behind line ends near its fractions; the parts joined are the text again.

    Where no line ends nearby, the cut is at a space, or anywhere.

    Raises:
        DataError: the text is so short that a part would be blank.
    """
    val_start = _border(text, 0, fractions.val + fractions.test)
    test_start = _border(text, val_start, fractions.test)
    parts: dict[Split, str] = {
        "train": text[:val_start],
        "val": text[val_start:test_start],
        "test": text[test_start:],
    }
    if any(fractions.share(split) > 0 and not part.strip() for split, part in parts.items()):
        raise DataError(f"a text of {len(text)} characters is too short to be split")
    return parts


def _border(text: str, start: int, rest: float) -> int:
    """Where to cut so that about this share of the text comes after; never before `start`."""
    if rest == 0:
        return len(text)
    wanted = max(start, len(text) - max(1, round(len(text) * rest)))
    reach = max(1, (len(text) - wanted) // 2)
    for mark in ("\n", " "):
        before = text.rfind(mark, max(start, wanted - reach), wanted) + 1
        after = text.find(mark, wanted, wanted + reach) + 1
        if before or after:
            return before or after
    return wanted


def _take_part(
    document: SourceDocument, split: Split, fractions: Fractions
) -> Iterator[SourceDocument]:
    try:
        text = cut(document.text, fractions)[split]
    except DataError as error:
        raise DataError(f"{document.origin}: {error}; give more text") from error
    if text:
        yield SourceDocument(text, f"{document.origin} ({split} part)")
