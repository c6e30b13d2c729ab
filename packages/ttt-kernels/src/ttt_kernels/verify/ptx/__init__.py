"""Compiled kernels executed on the CPU, instruction by instruction."""

from ttt_kernels.verify.ptx.counts import ExecutionCounts
from ttt_kernels.verify.ptx.launcher import execute_ptx, simulate, simulated

__all__ = ["ExecutionCounts", "execute_ptx", "simulate", "simulated"]
