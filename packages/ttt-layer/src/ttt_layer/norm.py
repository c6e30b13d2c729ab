"""RMSNorm with the official order of casts."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps), statistics in float32 or wider.

    The result is cast back to the dtype of `x` before the weight is applied, as the official code
    does; in bfloat16 the order shows.

    Args:
        hidden_size: C.
        eps: added to the mean square.
    """

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps
        self._eps = torch.tensor(eps, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last axis, (..., C) to (..., C)."""
        uncast = x.dtype == self.weight.dtype and x.dtype in (torch.float32, torch.float64)
        if uncast and not torch.compiler.is_compiling():  # the compiler does this by itself
            if torch.is_grad_enabled():
                return _Scaled.apply(x, self.weight, self.eps)
            if x.device.type != "cpu":
                return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
            # That is one operation on a GPU and ten on a CPU; these are five.
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            inverse = torch.addcmul(self._eps, norm, norm, value=1.0 / x.shape[-1]).rsqrt_()
            return inverse.mul(x).mul_(self.weight)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class _Scaled(torch.autograd.Function):
    """The same where nothing is cast, in a third of the passes over memory.

    With n = x r, r = 1 / sqrt(mean(x^2) + eps) and u the gradient at n: dx = r (u - n mean(u n)).
    """

    @staticmethod
    # pyrefly: ignore[bad-override] - torch declares *args
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        """Take x (..., C), the weight (C,) and eps."""
        inverse = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    @once_differentiable
    # pyrefly: ignore[bad-override] - torch declares *args
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        """Normalised x is computed again rather than kept."""
        x, weight, inverse = ctx.saved_tensors
        normed = x * inverse
        product = upstream * normed
        d_weight = product.flatten(0, -2).sum(0)
        projection = product.mul_(weight).mean(-1, keepdim=True)
        d_x = (upstream * weight).addcmul_(normed, projection, value=-1).mul_(inverse)
        return d_x, d_weight, None
