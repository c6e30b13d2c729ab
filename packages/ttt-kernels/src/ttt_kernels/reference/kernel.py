"""The kernel `reference`: any shape, dtype and device, on batched matrix products of torch."""

from collections.abc import Sequence

from torch import Tensor

from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.backward import backward
from ttt_kernels.reference.forward import Saved, forward


class ReferenceKernel:
    """A `ttt_kernels.kernel.Kernel` that refuses nothing."""

    def refusal(self, loop: InnerLoop) -> str | None:
        """Return None; see `Kernel`."""
        del loop
        return None

    def saved_like(self, loop: InnerLoop) -> list[Tensor]:
        """Return empty tensors; see `Kernel`."""
        return Saved.empty(loop).flat()

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        """Compute output and final state; see `Kernel`."""
        return forward(loop, save=save)

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        """Compute the gradient of every argument; see `Kernel`."""
        return backward(loop, Saved.of(saved), upstream)
