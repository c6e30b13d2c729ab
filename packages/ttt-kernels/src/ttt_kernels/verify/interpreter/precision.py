"""Products of tiles with the operand rounding of a matrix unit."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from triton._C.libtriton import ir

from ttt_kernels.verify.interpreter.bfloat16 import BFLOAT16

Float32 = NDArray[np.float32]


def round_tf32(x: Float32) -> Float32:
    """Round float32 to 10 mantissa bits, to nearest, ties away from zero (`cvt.rna.tf32`)."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits).view(np.float32)


def truncate_tf32(x: Float32) -> Float32:
    """Cut float32 to 10 mantissa bits: the matrix unit does not look at the others."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def round_bfloat16(x: Float32) -> Float32:
    """Round float32 to bfloat16, to nearest, ties to even."""
    return x.astype(BFLOAT16).astype(np.float32)


def matmul(a: NDArray[Any], b: NDArray[Any], precision: Any) -> Float32:
    """Multiply tiles in float32, the operands rounded as `input_precision` says.

    Triton leaves the rounding to tf32 to the matrix unit, and rounds where it splits numbers.

    Args:
        a: (..., M, K), float32, float16 or bfloat16; the latter two are exact as they are.
        b: (..., K, N), the same type.
        precision: one of `ir.INPUT_PRECISION`.
    """
    x, y = a.astype(np.float32), b.astype(np.float32)
    if a.dtype != np.float32 or precision == ir.INPUT_PRECISION.IEEE:
        return np.matmul(x, y)
    rounding, parts = {
        ir.INPUT_PRECISION.TF32: (truncate_tf32, 1),
        ir.INPUT_PRECISION.TF32x3: (round_tf32, 2),
        ir.INPUT_PRECISION.BF16x3: (round_bfloat16, 2),
        ir.INPUT_PRECISION.BF16x6: (round_bfloat16, 3),
    }[precision]
    xs, ys = _split(x, rounding, parts), _split(y, rounding, parts)
    pairs = [(i, j) for i in range(parts) for j in range(parts - i)]
    small_first = sorted(pairs, key=lambda pair: -sum(pair))
    return sum((np.matmul(xs[i], ys[j]) for i, j in small_first), np.float32(0))  # pyrefly: ignore


def _split(x: Float32, rounding: Callable[[Float32], Float32], parts: int) -> list[Float32]:
    """Write x as a sum of rounded parts, each holding what the ones before it leave."""
    split: list[Float32] = []
    for _ in range(parts):
        split.append(rounding(x))
        x = x - split[-1]
    return split
