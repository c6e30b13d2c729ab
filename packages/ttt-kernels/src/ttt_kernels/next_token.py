"""What it takes to read one token of every sequence: arguments that all ways of decoding share."""

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from ttt_kernels.errors import ShapeError
from ttt_kernels.learned import Learned
from ttt_kernels.reference.update import InnerParameters


class NextToken(NamedTuple):
    """Arguments of `ttt_kernels.decode_step`; see there.

    Attributes:
        q: query, (B, 1, H, D).
        k: key, like `q`.
        v: value, like `q`.
        token_eta: step size by position, (M,).
        lr: learned step sizes of the open tokens and of this one, (B, r + 1, H).
        parameters: at the last boundary, weights (B, H, in, out) and biases (B, H, out).
        learned: of the r open tokens.
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: bias of the inner layer norm, (H, D).
        eps: of the layer norm.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    token_eta: Tensor
    lr: Tensor
    parameters: InnerParameters
    learned: Learned
    ln_w: Tensor
    ln_b: Tensor
    eps: float

    @property
    def complete(self) -> bool:
        """Whether this token ends its mini-batch."""
        return self.lr.shape[1] == len(self.token_eta)

    def check(self) -> None:
        """Compare all shapes, for compiled code reads where it is told to.

        Raises:
            ShapeError: names the arguments that do not fit.
        """
        q, k, v, lr = self.q, self.k, self.v, self.lr
        if q.dim() != 4 or q.shape[1] != 1 or not q.shape == k.shape == v.shape:
            raise ShapeError(
                f"`q`, `k` and `v` have shapes {tuple(q.shape)}, {tuple(k.shape)} and "
                f"{tuple(v.shape)}, expected (B, 1, H, D)"
            )
        batch, _, heads, dim = q.shape
        size, known = len(self.token_eta), self.learned.count
        if lr.shape != (batch, known + 1, heads) or known >= size:
            raise ShapeError(
                f"`lr` has shape {tuple(lr.shape)} and `learned` is of {known} open tokens, "
                f"expected (B, r + 1, H) and r of them, r < {size}"
            )
        weights, biases = self.parameters.weights, self.parameters.biases
        widths = [dim, *(weight.shape[-1] for weight in weights)]
        lead = (batch, heads)
        fits = (
            widths[-1] == dim
            and len(biases) == len(weights)
            and all(
                weight.shape == (*lead, *sizes) and bias.shape == (*lead, sizes[1])
                for weight, bias, sizes in zip(weights, biases, pairwise(widths), strict=True)
            )
        )
        if not fits:
            raise ShapeError(
                f"weights have shapes {[tuple(x.shape) for x in weights]} and biases "
                f"{[tuple(x.shape) for x in biases]}, expected (B, H, in, out) and (B, H, out) "
                f"from D to D, for B, H, D = {batch}, {heads}, {dim}"
            )
        room = self.learned.room.shape
        if (*room[:2], room[3]) != (*lead, sum(widths[:-1]) + sum(widths[1:])):
            raise ShapeError(f"`learned` has shape {tuple(room)}, which is not of these parameters")
        for name, norm in (("ln_w", self.ln_w), ("ln_b", self.ln_b)):
            if norm.shape != (heads, dim):
                raise ShapeError(f"`{name}` has shape {tuple(norm.shape)}, expected {(heads, dim)}")
