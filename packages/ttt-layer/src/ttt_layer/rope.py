"""Rotary position embedding on interleaved pairs of channels (2i, 2i + 1)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles, (1 or B, T, 1, D / 2) each."""

    cos: Tensor
    sin: Tensor


def rotation(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Rotation:
    """Angles p * theta^(-2i / D) of positions p.

    Args:
        positions: (1 or B, T), integer.
        head_dim: D, even.
        theta: base of the wavelengths.
        dtype: the angles are computed in this dtype, float32 or wider.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=dtype, device=positions.device) / head_dim
    angles = positions[..., None].to(dtype) * theta**-exponents
    return Rotation(angles.cos().unsqueeze(-2), angles.sin().unsqueeze(-2))


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Rotate each pair of channels of x (B, T, H, D) by its angle, rounding once at the end."""
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = torch.stack([even * by.cos - odd * by.sin, odd * by.cos + even * by.sin], dim=-1)
    return rotated.flatten(-2).to(x.dtype)
