"""What a kernel did while it was executed."""

from dataclasses import dataclass, field


@dataclass
class ExecutionCounts:
    """Sums over all programs of one launch, or of several.

    An instruction counts once for each warp that has a thread at it, also if a predicate then
    leaves no thread to execute it.

    Attributes:
        programs: that ran.
        warp_instructions: executed by warps; without those that ptxas adds for spills.
        by_class: the same for each class of instruction: `ld.global`, `mma`, `shfl`...
        mma: matrix instructions of warps.
        barriers: of whole programs.
        shared_wavefronts: passes through shared memory that its accesses took.
        ideal_shared_wavefronts: passes they would take without bank conflicts.
        global_bytes_loaded: that threads asked for.
        global_bytes_stored: that threads wrote.
        global_sectors_loaded: pieces of 32 bytes that the loads of a warp touch.
        global_sectors_stored: the same of stores.
        pending_copies: groups of `cp.async` that a program never waited for.
    """

    programs: int = 0
    warp_instructions: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    mma: int = 0
    barriers: int = 0
    shared_wavefronts: int = 0
    ideal_shared_wavefronts: int = 0
    global_bytes_loaded: int = 0
    global_bytes_stored: int = 0
    global_sectors_loaded: int = 0
    global_sectors_stored: int = 0
    pending_copies: int = 0

    def executed(self, name: str, warps: int) -> None:
        """Add the executions of instructions of a class."""
        self.by_class[name] = self.by_class.get(name, 0) + warps
        self.warp_instructions += warps
        if name == "mma":
            self.mma += warps
