"""Rotary position embedding on interleaved pairs of channels (2i, 2i + 1)."""

import torch
from torch import Tensor


def rotation(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Cosine and sine of the angles p * theta^(-2i / D) of positions p.

    Args:
        positions: (1 or B, T), integer.
        head_dim: D, even.
        theta: base of the wavelengths.
        dtype: the angles are computed in this dtype, float32 or wider.

    Returns:
        (1 or B, T, 1, D / 2, 2).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=dtype, device=positions.device) / head_dim
    angles = positions[..., None].to(dtype) * theta**-exponents
    return torch.stack([angles.cos(), angles.sin()], dim=-1).unsqueeze(-3)


def rotate(x: Tensor, by: Tensor) -> Tensor:
    """Rotate each pair of channels of x (B, T, H, D) by its angle, rounding once at the end.

    A pair is a complex number and its rotation a product: one pass over memory in order, where even
    and odd channels on their own take eight. The compiler, which knows no complex numbers, makes
    one pass of those.
    """
    wide = x if x.dtype == by.dtype else x.to(torch.promote_types(x.dtype, torch.float32))
    pairs = (wide if wide.stride(-1) == 1 else wide.contiguous()).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (even, odd), (cos, sin) = pairs.unbind(-1), by.unbind(-1)
        rotated = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(by))
    return rotated.flatten(-2).to(x.dtype)
