"""Reading an assembly listing: its instructions, its loops, and how many there are of each kind."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ttt_kernels.verify.offline.report import InstructionCounts


@dataclass(frozen=True)
class Listing:
    """The instructions of a kernel in order.

    Attributes:
        instructions: mnemonic and operands of each.
        labels: index of the instruction that follows each label.
    """

    instructions: list[str]
    labels: dict[str, int]


@dataclass(frozen=True)
class Dialect:
    """What the instructions of an assembly language are called.

    Attributes:
        kinds: fields of `InstructionCounts`, and a pattern for the start of the mnemonic; the first
            that fits counts.
        branch: pattern of a branch, whose group 1 is the label.
    """

    kinds: Mapping[str, str]
    branch: str


def count(instructions: list[str], dialect: Dialect) -> InstructionCounts:
    """Count instructions by kind."""
    patterns = [(kind, re.compile(pattern)) for kind, pattern in dialect.kinds.items()]
    found: Counter[str] = Counter()
    for instruction in instructions:
        for kind, pattern in patterns:
            if pattern.match(instruction):
                found[kind] += 1
                break
    return InstructionCounts(instructions=len(instructions), **found)


def count_loops(listing: Listing, dialect: Dialect) -> tuple[InstructionCounts, ...]:
    """Count the instructions of each loop: what lies between a branch back and its label."""
    spans: dict[int, int] = {}
    for index, instruction in enumerate(listing.instructions):
        branch = re.match(dialect.branch, instruction)
        start = listing.labels.get(branch[1]) if branch else None
        if start is not None and start < index:  # to itself: the trap after the end
            spans[start] = index + 1
    ordered = sorted(spans.items(), key=lambda span: span[1])
    return tuple(count(listing.instructions[start:end], dialect) for start, end in ordered)
