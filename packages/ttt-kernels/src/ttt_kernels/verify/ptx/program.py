"""PTX text, taken apart."""

import re
from dataclasses import dataclass

from ttt_kernels.verify.errors import UnsupportedError


@dataclass(frozen=True)
class Instruction:
    """One PTX instruction.

    Attributes:
        opcode: up to the first point: `ld`.
        modifiers: what follows, in order: `("global", "v4", "b32")`.
        operands: as written; those in braces or brackets are one operand.
        predicate: register that decides which threads take part; empty if all do.
        negated: whether they are those whose predicate is false.
        line: of the PTX text, from 1.
    """

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    predicate: str
    negated: bool
    line: int

    def __str__(self) -> str:
        name = ".".join((self.opcode, *self.modifiers))
        return f"`{name} {', '.join(self.operands)}` (PTX line {self.line})"


@dataclass(frozen=True)
class Program:
    """A kernel in PTX.

    Attributes:
        name: of the entry.
        threads: of a CTA.
        parameters: name and type of each, in order.
        instructions: of the body.
        labels: index of the instruction after each label.
        register_types: type of the registers of each name, or of each prefix before a number.
        local_bytes: of a thread's own memory, outside registers.
        local_symbols: names of that memory.
        shared_symbols: offset of each variable in shared memory.
        constants: bytes of each table in global memory.
    """

    name: str
    threads: int
    parameters: tuple[tuple[str, str], ...]
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]
    register_types: dict[str, str]
    local_bytes: int
    local_symbols: tuple[str, ...]
    shared_symbols: dict[str, int]
    constants: dict[str, bytes]


_ENTRY = re.compile(r"\.visible \.entry (\S+?)\((.*?)\)(.*?)\{", re.DOTALL)
_PARAMETER = re.compile(r"\.param \.(\w+)[^,]*?\s(\w+)\s*(?:,|$)", re.DOTALL)
_LOCAL = re.compile(r"\.local\s+\.align \d+ \.b8\s+(\S+?)\[(\d+)\]")
_SHARED = re.compile(r"^\s*(?:\.extern )?\.shared \.align \d+ \.b8 (\w+)\[(\d*)\]", re.MULTILINE)
_TABLE = re.compile(r"^\s*\.global \.align \d+ \.b8 (\S+?)\[\d+\] = \{([\d, ]+)\}", re.MULTILINE)
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.+)")
_LABEL = re.compile(r"^(\$?\w+):")
_GUARD = re.compile(r"@(!?)([%\w]+)\s+")


def parse(ptx: str) -> Program:
    """Read the one kernel of a PTX module.

    Raises:
        UnsupportedError: it has no kernel, or several, or does not fix its number of threads.
    """
    entries = list(_ENTRY.finditer(ptx))
    if len(entries) != 1:
        raise UnsupportedError(f"the PTX module has {len(entries)} kernels, expected one")
    entry = entries[0]
    threads = re.search(r"\.(?:reqntid|maxntid) (\d+)", entry[3])
    if threads is None:
        raise UnsupportedError(f"the kernel `{entry[1]}` does not say how many threads it has")
    start = entry.end()
    end = ptx.index("\n}", start)
    first_line = ptx.count("\n", 0, start) + 1
    shared_symbols: dict[str, int] = {}
    offset = 0
    for name, size in _SHARED.findall(ptx):
        shared_symbols[name] = offset
        offset += int(size or 0)
    local = _LOCAL.findall(ptx, start, end)
    body = _Body()
    for number, line in enumerate(ptx[start:end].split("\n"), first_line):
        body.read(line, number)
    return Program(
        name=entry[1],
        threads=int(threads[1]),
        parameters=tuple((name, kind) for kind, name in _PARAMETER.findall(entry[2])),
        instructions=tuple(body.instructions),
        labels=body.labels,
        register_types=body.register_types,
        local_bytes=sum(int(size) for _, size in local),
        local_symbols=tuple(name for name, _ in local),
        shared_symbols=shared_symbols,
        constants={
            name: bytes(int(each) for each in values.split(","))
            for name, values in _TABLE.findall(ptx)
        },
    )


class _Body:
    """Collects the statements of a kernel line by line."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self.register_types: dict[str, str] = {}

    def read(self, line: str, number: int) -> None:
        line = line.split("//")[0].strip()
        if label := _LABEL.match(line):
            self.labels[label[1]] = len(self.instructions)
            line = line[label.end() :]
        for statement in _statements(line):
            if declared := _REGISTERS.match(statement):
                for name in declared[2].split(","):
                    self.register_types[name.strip().split("<")[0]] = declared[1]
            elif not statement.startswith("."):  # .loc, .pragma and other directives
                self.instructions.append(_instruction(statement, number))


def _statements(line: str) -> list[str]:
    """Split at semicolons; braces that stand alone open and close scopes."""
    parts = (part.strip() for part in line.split(";"))
    cleaned = (re.sub(r"^[{}\s]+(?=[.@a-z]|$)", "", part) for part in parts)
    return [part for part in cleaned if part]


def _instruction(statement: str, line: int) -> Instruction:
    guard = _GUARD.match(statement)
    if guard:
        statement = statement[guard.end() :]
    name, *rest = statement.split(None, 1)
    opcode, *modifiers = name.split(".")
    return Instruction(
        opcode=opcode,
        modifiers=tuple(modifiers),
        operands=_operands(rest[0]) if rest else (),
        predicate=guard[2] if guard else "",
        negated=bool(guard and guard[1]),
        line=line,
    )


def _operands(text: str) -> tuple[str, ...]:
    """Split at commas outside brackets and braces."""
    parts: list[str] = []
    depth = start = 0
    for position, character in enumerate(text):
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return (*parts, text[start:].strip())


def elements(operand: str) -> list[str]:
    """The registers of an operand: one, or those in braces."""
    return [part.strip() for part in operand.strip("{} ").split(",")]
