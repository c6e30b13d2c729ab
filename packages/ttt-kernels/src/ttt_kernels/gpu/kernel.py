"""The kernels `naive`, `naive-multi`, `tile` and `tile-multi`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ttt_kernels.capability import dtype_name
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream

if TYPE_CHECKING:
    from ttt_kernels.gpu import linear

LARGEST_HEAD = 128
TOKEN_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class TritonKernel:
    """A `ttt_kernels.kernel.Kernel` made of launches.

    Args:
        family: `naive` or `tile`.
        mini_batches: of a launch; None is all of a sequence.
    """

    def __init__(self, family: str, mini_batches: int | None) -> None:
        self._family = family
        self._mini_batches = mini_batches

    def refusal(self, loop: InnerLoop) -> str | None:
        """Refuse what the kernels were not written for; see `Kernel`."""
        dim = loop.q.shape[3]
        if len(loop.parameters.weights) > 1 or loop.adam is not None:
            return "it computes linear"
        if dim > LARGEST_HEAD:
            return f"a head of {dim} features; at most {LARGEST_HEAD}"
        for name, tokens in {"q": loop.q, "k": loop.k, "v": loop.v}.items():
            if tokens.dtype not in TOKEN_DTYPES:
                return f"`{name}` is {dtype_name(tokens.dtype)}"
        return None

    def saved_like(self, loop: InnerLoop) -> list[Tensor]:
        """Return g of all tokens and the final state, or the first state of each span."""
        batch, tokens, heads, dim = loop.q.shape
        interval = loop.checkpoint_interval
        new = loop.lr.new_empty
        if interval is None:
            dtype = torch.float32 if self._family == "naive" else loop.q.dtype
            kept = loop.q.new_empty(batch, tokens, heads, dim, dtype=dtype)
            return [kept, new(batch, heads, dim, dim), new(batch, heads, dim)]
        size = interval * loop.mini_batch_size
        count = (tokens + size - 1) // size
        return [new(count, batch, heads, dim, dim), new(count, batch, heads, dim)]

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        """Compute output and final state; see `Kernel`."""
        from ttt_kernels.gpu import linear  # imports Triton

        saved = self.saved_like(loop) if save else []
        return linear.forward(loop, self._kernels(), self._mini_batches, saved)

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        """Compute the gradient of every argument; see `Kernel`."""
        from ttt_kernels.gpu import linear

        return linear.backward(loop, self._kernels(), self._mini_batches, saved, upstream)

    def _kernels(self) -> "linear.Family":
        from ttt_kernels.gpu import linear

        return linear.NAIVE if self._family == "naive" else linear.TILE
