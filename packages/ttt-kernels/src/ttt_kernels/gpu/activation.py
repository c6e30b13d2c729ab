"""GELU in its tanh form and its first two derivatives, for inner models with hidden layers.

With u = c (x + a x^3) and s = sigmoid(2 u), tanh(u) is 2 s - 1, so that

    gelu   = x s
    gelu'  = s + x t p,                        t = 2 s (1 - s) = (1 - tanh(u)^2) / 2,  p = du/dx
    gelu'' = 2 t (2 p - c - x p^2 tanh(u))

and nothing is a difference of two numbers near 1: 1 - s is the sigmoid of -2 u. Float32 throughout;
all of it is made of instructions that every target has.
"""

import triton
import triton.language as tl

SCALE = tl.constexpr(0.7978845608028654)
"""c = sqrt(2 / pi)."""
CUBIC = tl.constexpr(0.044715)
"""a."""
FLAT = tl.constexpr(12.0)
"""From here on s is 0 or 1 in float32, while the powers of x could overflow."""


@triton.jit
def gelu(x: tl.tensor) -> tl.tensor:
    """0.5 x (1 + tanh(c (x + a x^3))), elementwise."""
    _, sigmoid, _, _ = _terms(x)
    return x * sigmoid


@triton.jit
def gelu_derivative(x: tl.tensor) -> tl.tensor:
    """First derivative of `gelu`, elementwise."""
    _, sigmoid, falling, slope = _terms(x)
    return sigmoid + x * falling * slope


@triton.jit
def gelu_second_derivative(x: tl.tensor) -> tl.tensor:
    """Second derivative of `gelu`, elementwise."""
    near, sigmoid, falling, slope = _terms(x)
    bent = near * slope * slope * (2.0 * sigmoid - 1.0)
    return 2.0 * falling * (2.0 * slope - SCALE - bent)


@triton.jit
def _terms(x: tl.tensor) -> tuple[tl.tensor, ...]:
    """X without its far ends, s, t and p."""
    near = tl.where(x > FLAT, FLAT, tl.where(x < -FLAT, -FLAT, x))  # keeps NaN
    square = near * near
    twice = 2.0 * SCALE * near * (1.0 + CUBIC * square)
    sigmoid = tl.sigmoid(twice)
    slope = SCALE * (1.0 + 3.0 * CUBIC * square)
    return near, sigmoid, 2.0 * sigmoid * tl.sigmoid(-twice), slope
