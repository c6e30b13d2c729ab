"""A finished document: its text, and which parts of it are names or answers.

While a story is being told, names and answers carry invisible marks inside the text. `finish`
removes the marks and remembers where they stood.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ttt_data.chronicles.grammar import articles

SpanKind = Literal["filler", "name", "answer"]

_NAME, _ANSWER, _CLOSE = "\x01", "\x02", "\x03"
_MARKED = re.compile("([\x01\x02])([^\x01-\x03]*(?:\x01[^\x01-\x03]*\x03[^\x01-\x03]*)*)\x03")
_MARKS = re.compile("[\x01-\x03]")


class Span(NamedTuple):
    """Characters `start` to `end` (excluded) of the text, and what they are."""

    start: int
    end: int
    kind: SpanKind


@dataclass(frozen=True)
class Document:
    """One story.

    Attributes:
        text: plain ASCII, so character offsets are byte offsets; ends with a newline.
        spans: the `name` spans (words that exist in this document only) and `answer` spans (the
            answer within the reply to a question), sorted and disjoint. A name inside an answer
            belongs to the answer. What they leave out is filler; see `segments`.
    """

    text: str
    spans: tuple[Span, ...]

    def segments(self) -> Iterator[Span]:
        """Yield spans that cover the whole text in order, filler included."""
        position = 0
        for span in self.spans:
            if span.start > position:
                yield Span(position, span.start, "filler")
            yield span
            position = span.end
        if position < len(self.text):
            yield Span(position, len(self.text), "filler")


def name(text: str) -> str:
    """Mark text as a word of this document only."""
    return f"{_NAME}{text}{_CLOSE}"


def answer(text: str) -> str:
    """Mark text as the answer to a question; it may contain names."""
    return f"{_ANSWER}{text}{_CLOSE}"


def plain(text: str) -> str:
    """Return the text without marks."""
    return _MARKS.sub("", text)


def capital(text: str) -> str:
    """Upper-case the first letter, behind any marks."""
    start = 0
    while start < len(text) and text[start] in "\x01\x02":
        start += 1
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def finish(marked: str) -> Document:
    """Settle the articles, and turn the marks into spans."""
    marked = articles(marked)
    pieces: list[str] = []
    spans: list[Span] = []
    length = position = 0
    for match in _MARKED.finditer(marked):
        mark, inner = match.groups()
        before = marked[position : match.start()]
        start = length + len(before)
        if mark == _NAME:
            kind: SpanKind = "name"
        else:
            kind, inner = "answer", plain(inner)
        length = start + len(inner)
        pieces += (before, inner)
        spans.append(Span(start, length, kind))
        position = match.end()
    pieces.append(marked[position:])
    return Document("".join(pieces), tuple(spans))
