"""From a compiled kernel to its report."""

from typing import TYPE_CHECKING

from ttt_kernels.verify.offline import amd, nvidia
from ttt_kernels.verify.offline.listing import count, count_loops
from ttt_kernels.verify.offline.occupancy import estimate
from ttt_kernels.verify.offline.report import KernelReport
from ttt_kernels.verify.targets import find_target

if TYPE_CHECKING:
    from ttt_kernels.verify.offline.compiler import CompiledKernel


def analyse(kernel: "CompiledKernel") -> KernelReport:
    """Report what the machine code of a kernel is made of."""
    shared = kernel.shared_bytes
    if find_target(kernel.target).backend == "cuda":
        dialect, cubin = nvidia.SASS, kernel.folder / "kernel.cubin"
        log = (kernel.folder / "compiler.log").read_text()
        registers, stack, spill = nvidia.resources(cubin, log)
        listing = nvidia.disassemble(cubin)
    else:
        dialect, assembly = amd.AMDGCN, kernel.text("amdgcn")
        registers, stack, spill, allocated = amd.resources(assembly)
        shared = max(shared, allocated)
        listing = amd.read_assembly(assembly)
    return KernelReport(
        name=kernel.name,
        target=kernel.target,
        num_warps=kernel.num_warps,
        registers=registers,
        spill_bytes=spill,
        stack_bytes=stack,
        shared_bytes=shared,
        counts=count(listing.instructions, dialect),
        loops=count_loops(listing, dialect),
        occupancy=estimate(kernel.target, kernel.num_warps, registers, shared),
    )
