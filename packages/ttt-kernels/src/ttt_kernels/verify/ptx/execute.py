"""Running one program: which instruction is next, and for which threads."""

import numpy as np

from ttt_kernels.verify.errors import BarrierError, KernelFaultError, VerifyError
from ttt_kernels.verify.ptx.counts import ExecutionCounts
from ttt_kernels.verify.ptx.decode import Code, Operation
from ttt_kernels.verify.ptx.machine import Machine
from ttt_kernels.verify.ptx.values import Array, Mask


def execute(code: Code, machine: Machine, counts: ExecutionCounts, limit: int) -> None:
    """Run a program to its end.

    All threads run in lock-step. Where they part, those furthest behind run first, until all are
    at one instruction again.

    Args:
        code: of the kernel.
        machine: fresh.
        counts: added to.
        limit: instructions after which the program counts as hung.

    Raises:
        KernelFaultError: one of its kinds, at the instruction where it shows.
    """
    executor = _Executor(code, machine)
    with np.errstate(all="ignore"):
        executor.run(limit)
    counts.programs += 1
    counts.barriers += executor.barriers
    counts.pending_copies += machine.shared.pending
    for operation, warps in zip(code.operations, executor.warps_at, strict=True):
        if warps:
            counts.executed(operation.counted_as, warps)


class _Executor:
    def __init__(self, code: Code, machine: Machine) -> None:
        self._operations = code.operations
        self._machine = machine
        self.warps_at = [0] * len(code.operations)
        self.barriers = 0
        self._next = 0  # of all threads, as long as they are together
        self._each: Array | None = None  # of each thread, once they have parted
        self._done = np.zeros(machine.threads, bool)

    def run(self, limit: int) -> None:
        end = len(self._operations)
        for _ in range(limit):
            active = self._choose()
            if self._next >= end:
                return
            operation = self._operations[self._next]
            together = active is None
            warps = self._machine.warps if together else _warps(active)
            self.warps_at[self._next] += warps
            mask = active
            if operation.predicate is not None:
                wanted = operation.predicate(self._machine)
                mask = wanted if active is None else wanted & active
                if active is None and mask.all():
                    mask = None
            try:
                self._perform(operation, active, mask)
            except VerifyError as error:
                error.add_note(f"at {operation.source}, in program {self._machine.program_id}")
                raise
        raise KernelFaultError(f"the program has not ended after {limit} instructions")

    def _choose(self) -> Mask:
        """The threads that run next; None for all."""
        if self._each is None:
            return None
        live = ~self._done
        if not live.any():
            self._next = len(self._operations)
            return None
        self._next = int(self._each[live].min())
        active = live & (self._each == self._next)
        if active.all():
            self._each = None
            return None
        return active

    def _perform(self, operation: Operation, active: Mask, mask: Mask) -> None:
        if operation.kind == "branch":
            self._go(active, self._target(operation.target, mask))
        elif operation.kind == "exit":
            self._done |= True if mask is None else mask
            self._go(active, self._next + 1, parting=True)
        else:
            if operation.kind == "barrier":
                self._barrier(active)
            elif operation.step is not None and (mask is None or mask.any()):
                operation.step(self._machine, mask)
            self._go(active, self._next + 1)

    def _target(self, target: int, mask: Mask) -> int | Array:
        if mask is None or mask.all():
            return target
        return np.where(mask, target, self._next + 1) if mask.any() else self._next + 1

    def _go(self, active: Mask, target: int | Array, *, parting: bool = False) -> None:
        """Set where the active threads go on."""
        if self._each is None and (parting or not isinstance(target, int)):
            self._each = np.full(self._machine.threads, self._next)
        if self._each is None and isinstance(target, int):
            self._next = target
        elif self._each is not None:
            self._each = np.where(True if active is None else active, target, self._each)

    def _barrier(self, active: Mask) -> None:
        if active is not None and not (active | self._done).all():
            raise BarrierError("a barrier is reached by only some of the threads")
        self.barriers += 1
        self._machine.barrier()


def _warps(active: Array) -> int:
    return int(active.reshape(-1, 32).any(axis=1).sum())
