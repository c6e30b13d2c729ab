"""Kernels compiled for any accelerator, and what they are made of."""

from ttt_kernels.verify.offline.compiler import CompiledKernel, compile_kernel, compiling
from ttt_kernels.verify.offline.report import InstructionCounts, KernelReport, Occupancy
from ttt_kernels.verify.targets import TARGETS

__all__ = [
    "TARGETS",
    "CompiledKernel",
    "InstructionCounts",
    "KernelReport",
    "Occupancy",
    "compile_kernel",
    "compiling",
]
