"""The kernel `cpu`: compiled scans for TTT-Linear and linear-adam, batched products for MLPs."""

from collections.abc import Sequence

from torch import Tensor

from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.kernel import ReferenceKernel


class CpuKernel:
    """A `ttt_kernels.kernel.Kernel` for tensors in main memory."""

    def __init__(self) -> None:
        self._batched = ReferenceKernel()

    def refusal(self, loop: InnerLoop) -> str | None:
        """Refuse nothing that is in main memory; see `Kernel`."""
        return None if loop.q.device.type == "cpu" else f"the tensors are on {loop.q.device}"

    def saved_like(self, loop: InnerLoop) -> list[Tensor]:
        """Return empty tensors; see `Kernel`."""
        if not _is_linear(loop):
            return self._batched.saved_like(loop)
        if loop.adam is not None:
            return []
        shapes = _saved_shapes(loop)
        return [loop.lr.new_empty(shape) for shape in shapes]

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        """Compute output and final state; see `Kernel`."""
        if not _is_linear(loop):
            return self._batched.forward(loop, save=save)
        from ttt_kernels.cpu import linear  # imports the compiler

        saved = self.saved_like(loop) if save else []
        return linear.forward(loop, saved)

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        """Compute the gradient of every argument; see `Kernel`."""
        if not _is_linear(loop):
            return self._batched.backward(loop, saved, upstream)
        from ttt_kernels.cpu import linear

        return linear.backward(loop, saved, upstream)


def _is_linear(loop: InnerLoop) -> bool:
    return len(loop.parameters.weights) == 1


def _saved_shapes(loop: InnerLoop) -> list[tuple[int, ...]]:
    """Shapes of g and of the states kept.

    Without `checkpoint_interval`: g of all complete mini-batches, (B, H, T', D), and the final
    state, (B, H, 1, D, D) and (B, H, 1, D). With it: no g, and a state every so many mini-batches.
    """
    batch, tokens, heads, dim = loop.q.shape
    size, interval = loop.mini_batch_size, loop.checkpoint_interval
    complete = tokens // size
    if interval is None:
        gradients, states = complete * size, 1
    else:
        gradients, states = 0, max(1, (complete + interval - 1) // interval)
    return [
        (batch, heads, gradients, dim),
        (batch, heads, states, dim, dim),
        (batch, heads, states, dim),
    ]
