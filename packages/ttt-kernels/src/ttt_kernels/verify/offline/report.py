"""What is known of a compiled kernel without running it."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class InstructionCounts:
    """How many machine instructions a piece of code has, in all and of each kind.

    Attributes:
        instructions: all of them, padding aside.
        mma: products of tiles on the matrix unit.
        fma: scalar multiply-adds in float32.
        arithmetic: other float32 additions and products.
        special: exponentials, roots, reciprocals.
        conversions: between number formats.
        global_loads: from global memory into registers.
        global_stores: from registers to global memory.
        async_copies: from global to shared memory directly.
        atomics: atomic updates of global memory.
        shared_loads: from shared memory, `ldmatrix` aside.
        shared_stores: to shared memory.
        ldmatrix: loads of whole fragments from shared memory.
        spill_loads: from a thread's stack.
        spill_stores: to a thread's stack.
        barriers: of a whole program.
        shuffles: between the lanes of a warp.
    """

    instructions: int = 0
    mma: int = 0
    fma: int = 0
    arithmetic: int = 0
    special: int = 0
    conversions: int = 0
    global_loads: int = 0
    global_stores: int = 0
    async_copies: int = 0
    atomics: int = 0
    shared_loads: int = 0
    shared_stores: int = 0
    ldmatrix: int = 0
    spill_loads: int = 0
    spill_stores: int = 0
    barriers: int = 0
    shuffles: int = 0


@dataclass(frozen=True)
class Occupancy:
    """How many warps a multiprocessor can hold at once.

    Attributes:
        warps: resident warps (waves on AMD) per multiprocessor (compute unit).
        fraction: of the most it can hold.
        limiter: what keeps it from more: `registers`, `shared`, `warps` or `programs`.
    """

    warps: int
    fraction: float
    limiter: str


@dataclass(frozen=True)
class KernelReport:
    """What a compiled kernel is made of.

    Attributes:
        name: of the kernel.
        target: it is compiled for.
        num_warps: warps of a program.
        registers: of a thread; on AMD vector and accumulator registers together.
        spill_bytes: written to and read from the stack for want of registers, per thread: the
            larger of stores and loads on NVIDIA, 4 for each spilled register on AMD.
        stack_bytes: of a thread. Trust it more than `registers`: when ptxas fails to allocate, it
            reports 32 registers and kilobytes of stack.
        shared_bytes: of a program.
        counts: instructions of the whole kernel.
        loops: the same for each loop, by the place of its end; an outer loop contains the inner.
        occupancy: an estimate; None for targets whose limits are not known here.
    """

    name: str
    target: str
    num_warps: int
    registers: int
    spill_bytes: int
    stack_bytes: int
    shared_bytes: int
    counts: InstructionCounts
    loops: tuple[InstructionCounts, ...]
    occupancy: Occupancy | None

    @property
    def instructions(self) -> int:
        """Machine instructions of the whole kernel."""
        return self.counts.instructions

    @property
    def mma(self) -> int:
        """Matrix instructions of the whole kernel."""
        return self.counts.mma

    def row(self) -> dict[str, Any]:
        """The report as one flat row for tables and JSON; loops as a list of such rows."""
        flat = asdict(self)
        counts = flat.pop("counts")
        occupancy = flat.pop("occupancy") or dict.fromkeys(("warps", "fraction", "limiter"))
        loops = flat.pop("loops")
        return {
            **flat,
            **counts,
            "occupancy": occupancy["fraction"],
            "resident_warps": occupancy["warps"],
            "limiter": occupancy["limiter"],
            "loops": list(loops),
        }
