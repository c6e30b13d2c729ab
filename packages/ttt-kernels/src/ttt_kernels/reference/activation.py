"""GELU in its tanh form, and its derivative, which the inner gradient needs in the forward pass."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_SCALE = math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh approximation: 0.5 x (1 + tanh(c (x + a x^3)))."""
    return functional.gelu(x, approximate="tanh")


def gelu_derivative(x: Tensor) -> Tensor:
    """First derivative of `gelu`, itself differentiable.

    With t = tanh(c (x + a x^3)): 0.5 (1 + t) + 0.5 x (1 - t^2) c (1 + 3 a x^2).
    """
    square = x * x
    tanh = torch.tanh(_SCALE * x * (1.0 + _CUBIC * square))
    slope = _SCALE * (1.0 + 3.0 * _CUBIC * square)
    return 0.5 * (1.0 + tanh + x * (1.0 - tanh * tanh) * slope)


def gelu_terms(x: Tensor, order: int) -> list[Tensor]:
    """Return `gelu` and its first `order` <= 2 derivatives, which share one tanh. No autograd.

    With t as above, p = c (1 + 3 a x^2) and s = 1 - t^2, which is dt/dx / p:
    gelu' = 0.5 (1 + t) + 0.5 x s p and gelu'' = s (2 p - c) - x t s p^2.
    """
    square = x * x
    tanh = (square * (_SCALE * _CUBIC)).add_(_SCALE).mul_(x).tanh_()
    half = (tanh + 1.0).mul_(0.5)
    terms = [half * x]
    if order == 0:
        return terms
    slope = square.mul_(3.0 * _SCALE * _CUBIC).add_(_SCALE)
    falling = tanh.square().neg_().add_(1.0)
    bent = falling * x
    terms.append(half.addcmul_(bent, slope, value=0.5))
    if order == 2:
        bent.mul_(tanh).mul_(slope).mul_(slope)
        terms.append(slope.mul_(2.0).sub_(_SCALE).mul_(falling).sub_(bent))
    return terms
