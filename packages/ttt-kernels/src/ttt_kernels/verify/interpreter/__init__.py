"""Kernels run on the CPU, with the numbers of a GPU and every access checked."""

from ttt_kernels.verify.interpreter.execute import hardened, poisoned

__all__ = ["hardened", "poisoned"]
