"""From instructions to what the machine does."""

from dataclasses import dataclass
from functools import partial

from ttt_kernels.verify.errors import UnsupportedError
from ttt_kernels.verify.ptx import arithmetic, bits, conversion, memory, warp
from ttt_kernels.verify.ptx.program import Instruction, Program
from ttt_kernels.verify.ptx.values import Operands, Read, Step, width

_DECODERS = {
    **arithmetic.DECODERS,
    **bits.DECODERS,
    **conversion.DECODERS,
    **memory.DECODERS,
    **warp.DECODERS,
}


@dataclass(frozen=True)
class Operation:
    """An instruction made ready to run.

    Attributes:
        source: the instruction.
        kind: `step`, or what the executor does itself: `branch`, `barrier`, `exit`, `nothing`.
        step: what it does; None unless `kind` is `step`.
        predicate: which threads take part; None for all.
        target: index of the instruction it branches to.
        counted_as: its class in `ExecutionCounts.by_class`.
    """

    source: Instruction
    kind: str
    step: Step | None
    predicate: Read | None
    target: int
    counted_as: str


@dataclass(frozen=True)
class Code:
    """A program made ready to run.

    Attributes:
        operations: of each instruction.
        operands: the registers they use.
        shared_granule: bytes of the smallest access to shared memory.
        global_granule: bytes of the smallest access to global memory.
    """

    operations: tuple[Operation, ...]
    operands: Operands
    shared_granule: int
    global_granule: int


def decode(program: Program) -> Code:
    """Make a program ready to run.

    Raises:
        UnsupportedError: it has an instruction that the simulator does not know.
    """
    operands = Operands(program)
    operations = tuple(_operation(each, program, operands) for each in program.instructions)
    granule = partial(_granule, program.instructions)
    return Code(operations, operands, granule("shared"), granule("global"))


def _operation(instruction: Instruction, program: Program, operands: Operands) -> Operation:
    kind, step, target = "step", None, 0
    opcode, modifiers = instruction.opcode, instruction.modifiers
    if opcode == "bra":
        kind, target = "branch", program.labels[instruction.operands[0]]
    elif opcode in ("ret", "exit"):
        kind = "exit"
    elif opcode in ("bar", "barrier"):
        kind = "nothing" if "warp" in modifiers else "barrier"
        if kind == "barrier" and (
            "sync" not in modifiers or not _all_threads(instruction, program)
        ):
            raise UnsupportedError(f"the simulator does not know {instruction}")
    elif opcode in _DECODERS:
        step = _decoded(instruction, operands)
    else:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    predicate = None
    if instruction.predicate:
        mark = "!" if instruction.negated else ""
        predicate = operands.read(mark + instruction.predicate, "pred")
    return Operation(instruction, kind, step, predicate, target, _class(instruction))


def _decoded(instruction: Instruction, operands: Operands) -> Step:
    try:
        return _DECODERS[instruction.opcode](instruction, operands)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise UnsupportedError(f"the simulator does not know {instruction}: {error!r}") from error


def _all_threads(instruction: Instruction, program: Program) -> bool:
    counts = instruction.operands[1:]
    return not counts or counts[0] == str(program.threads)


def _class(instruction: Instruction) -> str:
    opcode = instruction.opcode
    if opcode in ("ld", "st", "atom", "red"):
        return f"{opcode}.{memory.space(instruction)}"
    if opcode == "cp":
        control = {"commit_group", "wait_group", "wait_all"}
        return "cp.async.control" if control & set(instruction.modifiers) else "cp.async"
    return "bar.warp" if opcode == "bar" and "warp" in instruction.modifiers else opcode


def _granule(instructions: tuple[Instruction, ...], space: str) -> int:
    """Bytes of the smallest access to a space, at most a word."""
    accesses = (each for each in instructions if each.opcode in ("ld", "st", "atom", "red"))
    here = (each for each in accesses if memory.space(each) in (space, "generic"))
    smallest = 2 if space == "shared" and any(i.opcode == "ldmatrix" for i in instructions) else 4
    return min((width(each.modifiers[-1]) for each in here), default=smallest)
