"""Triton kernels proven right and lean on a machine without a GPU.

`hardened` interprets them, `compile_kernel` compiles them for any accelerator and says what they
are made of, `simulated` executes what the compiler made of them. All work in one process, with
`@triton.jit` as it stands and no environment variable.
"""

from ttt_kernels.verify.errors import (
    BarrierError,
    CompileError,
    KernelFaultError,
    LaunchError,
    OutOfBoundsError,
    RaceError,
    UninitializedError,
    UnsupportedError,
    VerifyError,
)
from ttt_kernels.verify.interpreter import hardened, poisoned
from ttt_kernels.verify.offline import (
    TARGETS,
    CompiledKernel,
    InstructionCounts,
    KernelReport,
    Occupancy,
    compile_kernel,
    compiling,
)
from ttt_kernels.verify.ptx import ExecutionCounts, simulate, simulated

__all__ = [
    "TARGETS",
    "BarrierError",
    "CompileError",
    "CompiledKernel",
    "ExecutionCounts",
    "InstructionCounts",
    "KernelFaultError",
    "KernelReport",
    "LaunchError",
    "Occupancy",
    "OutOfBoundsError",
    "RaceError",
    "UninitializedError",
    "UnsupportedError",
    "VerifyError",
    "compile_kernel",
    "compiling",
    "hardened",
    "poisoned",
    "simulate",
    "simulated",
]
