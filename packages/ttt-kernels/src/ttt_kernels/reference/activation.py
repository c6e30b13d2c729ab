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
