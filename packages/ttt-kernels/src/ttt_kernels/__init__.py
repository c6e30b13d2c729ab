"""The inner loop of Test-Time-Training layers: tensors in, tensors out."""

from ttt_kernels.capability import Problem, kind_of
from ttt_kernels.decode import decode_step, read_open_tokens
from ttt_kernels.dispatch import KERNELS, KernelChoice, available_kernels, choose_kernel
from ttt_kernels.errors import KernelError, KernelUnavailableError, ShapeError
from ttt_kernels.gpu.report import kernel_report
from ttt_kernels.learned import Learned
from ttt_kernels.ops import ttt_linear, ttt_linear_adam, ttt_mlp

__all__ = [
    "KERNELS",
    "KernelChoice",
    "KernelError",
    "KernelUnavailableError",
    "Learned",
    "Problem",
    "ShapeError",
    "available_kernels",
    "choose_kernel",
    "decode_step",
    "kernel_report",
    "kind_of",
    "read_open_tokens",
    "ttt_linear",
    "ttt_linear_adam",
    "ttt_mlp",
]
