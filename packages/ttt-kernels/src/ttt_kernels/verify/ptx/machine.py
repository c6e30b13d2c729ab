"""The state of one program while it runs."""

from typing import Any

import numpy as np

from ttt_kernels.verify.ptx.global_memory import GlobalMemory
from ttt_kernels.verify.ptx.shared_memory import SharedMemory
from ttt_kernels.verify.ptx.values import Array


class Machine:
    """One CTA: its threads' registers and everything they reach.

    Args:
        threads: of the CTA, a multiple of 32.
        containers: type of each register.
        local_bytes: of each thread's own memory.
        parameters: bits of each argument.
        shared: memory of the CTA.
        global_memory: of the launch.
        program_id: place of the CTA in the grid.
        grid: CTAs along x, y and z.
    """

    def __init__(
        self,
        threads: int,
        containers: list[np.dtype[Any]],
        local_bytes: int,
        parameters: dict[str, int],
        shared: SharedMemory,
        global_memory: GlobalMemory,
        program_id: tuple[int, int, int],
        grid: tuple[int, int, int],
    ) -> None:
        self.threads = threads
        self.warps = threads // 32
        self.lanes: Array = np.arange(threads, dtype=np.uint32)
        zeros = {kind: np.zeros(threads, kind) for kind in set(containers)}
        self.registers: list[Array] = [zeros[kind] for kind in containers]
        self.local: Array = np.zeros((threads, -(-local_bytes // 16) * 16), np.uint8)
        self.parameters = parameters
        self.shared = shared
        self.global_memory = global_memory
        self.program_id = program_id
        self.grid = grid

    def same(self, value: int) -> Array:
        """One number for all threads."""
        return np.full(self.threads, value, np.uint32)

    def barrier(self) -> None:
        """Let all threads see what each has done."""
        self.shared.barrier()
        self.global_memory.barrier()
