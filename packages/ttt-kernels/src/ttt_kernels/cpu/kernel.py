"""The kernel `cpu`: compiled scans over inner models of any depth."""

from collections.abc import Sequence

from torch import Tensor

from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream


class CpuKernel:
    """A `ttt_kernels.kernel.Kernel` for tensors in main memory."""

    def refusal(self, loop: InnerLoop) -> str | None:
        """Refuse nothing that is in main memory; see `Kernel`."""
        return None if loop.q.device.type == "cpu" else f"the tensors are on {loop.q.device}"

    def saved_like(self, loop: InnerLoop) -> list[Tensor]:
        """Return empty tensors; see `Kernel`."""
        return [loop.lr.new_empty(shape) for shape in _saved_shapes(loop)]

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        """Compute output and final state; see `Kernel`."""
        from ttt_kernels.cpu import arrays, scans  # import the compiler

        shapes = _saved_shapes(loop) if save else []
        return scans.forward(loop, [arrays.empty(shape, loop.lr) for shape in shapes])

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        """Compute the gradient of every argument; see `Kernel`."""
        from ttt_kernels.cpu import scans

        return scans.backward(loop, saved, upstream)


def _saved_shapes(loop: InnerLoop) -> list[tuple[int, ...]]:
    """Shapes of g, or what it comes from, with the answers, and of the states kept; none with Adam.

    G is the outputs of all layers and of the last once more, each of these two with a scale, S the
    numbers of a state. Without `checkpoint_interval`: of all complete mini-batches g and answers,
    (B, H, N, G, M), and the final state, (B, H, 1, S). With it: a state every so many mini-batches,
    and in the place of the others an empty tensor, whose G has no answers.
    """
    if loop.adam is not None:
        return []
    batch, tokens, heads, dim = loop.q.shape
    size, interval = loop.mini_batch_size, loop.checkpoint_interval
    complete = tokens // size
    shapes = [weight.shape[-2:] for weight in loop.parameters.weights]
    outputs = sum(out for _, out in shapes) + 1
    numbers = sum(inputs * out + out for inputs, out in shapes)
    gradients, states = complete, 1
    if interval is None:
        outputs += dim + 1
    else:
        gradients, states = 0, max(1, (complete + interval - 1) // interval)
    return [(batch, heads, gradients, outputs, size), (batch, heads, states, numbers)]
