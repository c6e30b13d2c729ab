"""One document, and the splits it can belong to."""

from typing import Literal

from msgspec import Struct

Split = Literal["train", "val", "test"]


class SourceDocument(Struct, frozen=True, gc=False):
    """A text and where it was found.

    Attributes:
        text: never blank; what one reads in order and in one piece.
        origin: file and line, row or number, or the name a built-in source gives it.
    """

    text: str
    origin: str
