"""What a reader met and could not use: counted, never silently dropped."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from ttt_config.errors import DataError

OnBad = Literal["stop", "skip"]

ProblemKind = Literal[
    "not a JSON object",
    "no text field",
    "text is not a string",
    "undecodable bytes",
    "empty document",
    "blank line",
    "file not read",
]


class Problem(Struct, frozen=True):
    """One kind of problem.

    Attributes:
        kind: what is wrong.
        count: how often it was met.
        example: the first one: file, line or byte, and the details.
    """

    kind: ProblemKind
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count} x {self.kind} (first: {self.example})"


class Problems:
    """The problems of one pass over a source, by kind; iterates over `Problem`.

    Args:
        on_bad: `stop` raises at the first bad document, `skip` leaves it out and counts it.
    """

    def __init__(self, on_bad: OnBad = "stop") -> None:
        self.on_bad: OnBad = on_bad
        self._found: dict[ProblemKind, Problem] = {}

    def bad(self, kind: ProblemKind, where: str, detail: str = "") -> None:
        """Count a document that should have had text.

        Raises:
            DataError: the policy is `stop`.
        """
        example = f"{where}: {detail or kind}"
        if self.on_bad == "stop":
            raise DataError(f"{example}; mend it, or leave such documents out with on_bad `skip`")
        self._count(kind, example)

    def note(self, kind: ProblemKind, where: str, detail: str = "") -> None:
        """Count something without text; nothing is lost with it, so it never stops a pass."""
        self._count(kind, f"{where}: {detail or kind}")

    def count(self, kind: ProblemKind) -> int:
        """How often this kind was met."""
        return self._found[kind].count if kind in self._found else 0

    @property
    def total(self) -> int:
        """All problems together."""
        return sum(problem.count for problem in self)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def __str__(self) -> str:
        return "; ".join(map(str, self))

    def _count(self, kind: ProblemKind, example: str) -> None:
        known = self._found.get(kind)
        count, example = (known.count + 1, known.example) if known else (1, example)
        self._found[kind] = Problem(kind, count, example)
