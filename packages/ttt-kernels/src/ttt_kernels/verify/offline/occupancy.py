"""How many warps fit on a multiprocessor, by the limits that the vendors publish."""

from dataclasses import dataclass

from ttt_kernels.verify.offline.report import Occupancy


@dataclass(frozen=True)
class Limits:
    """What a multiprocessor (AMD: compute unit, or pair of them that shares memory) has.

    Attributes:
        registers: per lane and warp slot, as if one warp had the file of its scheduler: 32-bit
            registers of the file divided by the width of a warp.
        granularity: registers are handed out to a warp in multiples of it.
        schedulers: parts of the multiprocessor, each with its own register file.
        shared_bytes: in all.
        reserved_bytes: of shared memory, taken by the system for each program.
        warps: most resident at once.
        programs: most resident at once.
    """

    registers: int
    granularity: int
    schedulers: int
    shared_bytes: int
    reserved_bytes: int
    warps: int
    programs: int


# CUDA programming guide, table of technical specifications by compute capability; AMD ISA guides
# and LLVM's AMDGPU backend. RDNA: a work-group processor, which is two compute units.
LIMITS = {
    "sm_75": Limits(512, 8, 4, 65536, 0, 32, 16),
    "sm_80": Limits(512, 8, 4, 167936, 1024, 64, 32),
    "sm_86": Limits(512, 8, 4, 102400, 1024, 48, 16),
    "sm_89": Limits(512, 8, 4, 102400, 1024, 48, 24),
    "sm_90": Limits(512, 8, 4, 233472, 1024, 64, 32),
    "sm_100": Limits(512, 8, 4, 233472, 1024, 64, 32),
    "sm_120": Limits(512, 8, 4, 102400, 1024, 48, 24),
    "gfx90a": Limits(512, 8, 4, 65536, 0, 32, 32),
    "gfx942": Limits(512, 8, 4, 65536, 0, 32, 32),
    "gfx950": Limits(512, 8, 4, 163840, 0, 32, 32),
    "gfx1030": Limits(1024, 8, 4, 131072, 0, 64, 32),
    "gfx1100": Limits(1536, 24, 4, 131072, 0, 64, 32),
    "gfx1201": Limits(1536, 24, 4, 131072, 0, 64, 32),
}


def estimate(target: str, num_warps: int, registers: int, shared_bytes: int) -> Occupancy | None:
    """Estimate the occupancy of a kernel; None for a target whose limits are not known."""
    limits = LIMITS.get(target)
    if limits is None:
        return None
    per_warp = -(-max(registers, 1) // limits.granularity) * limits.granularity
    by_limit = {
        "registers": limits.registers // per_warp * limits.schedulers // num_warps,
        "shared": limits.shared_bytes // max(shared_bytes + limits.reserved_bytes, 1),
        "warps": limits.warps // num_warps,
        "programs": limits.programs,
    }
    limiter = min(by_limit, key=by_limit.__getitem__)
    warps = by_limit[limiter] * num_warps
    return Occupancy(warps=warps, fraction=warps / limits.warps, limiter=limiter)
