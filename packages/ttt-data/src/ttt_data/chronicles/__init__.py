"""The built-in corpus: stories told by the machine, each a pure function of its number.

    >>> from ttt_data import chronicles
    >>> story = chronicles.document(7)
    >>> story.text == chronicles.document(7).text
    True

A story simulates a small world and tells what happens there. Its people, places and things have
names found in no other document, and the questions asked in it are answered truthfully, so a model
that learns while it reads has something to gain. There are no files; the random stream of a
document depends on `CORPUS_VERSION`, the split, the seed and the index, and on nothing else.
"""

from collections.abc import Iterator
from typing import Literal

from ttt_data.chronicles.dice import Dice
from ttt_data.chronicles.knobs import DEFAULT, ChronicleKnobs
from ttt_data.chronicles.spans import Document, Span, SpanKind
from ttt_data.chronicles.story import Chronicle, tell_story

__all__ = [
    "CORPUS_VERSION",
    "DEFAULT",
    "Chronicle",
    "ChronicleKnobs",
    "Document",
    "Span",
    "SpanKind",
    "Split",
    "chronicle",
    "document",
    "documents",
]

CORPUS_VERSION = 1
"""Raised whenever any document changes; the tests hold a few documents of each version fast."""

Split = Literal["train", "val", "test"]


def document(
    index: int, *, seed: int = 0, split: Split = "train", knobs: ChronicleKnobs = DEFAULT
) -> Document:
    """Return one document of the corpus.

    Args:
        index: number of the document, from 0; there is no last one.
        seed: another seed is another corpus.
        split: the stream it belongs to; the streams share no document.
        knobs: length and difficulty.

    Returns:
        The story with its tagged spans.
    """
    return chronicle(index, seed=seed, split=split, knobs=knobs).document


def chronicle(
    index: int, *, seed: int = 0, split: Split = "train", knobs: ChronicleKnobs = DEFAULT
) -> Chronicle:
    """Return one document together with the log of its world; arguments as for `document`."""
    if index < 0:
        raise ValueError(f"index must be 0 or more, got {index}")
    return tell_story(Dice(f"chronicles/{CORPUS_VERSION}/{split}/{seed}/{index}"), knobs)


def documents(
    split: Split, count: int, *, seed: int = 0, knobs: ChronicleKnobs = DEFAULT
) -> Iterator[Document]:
    """Yield the first `count` documents of a split."""
    for index in range(count):
        yield document(index, seed=seed, split=split, knobs=knobs)
