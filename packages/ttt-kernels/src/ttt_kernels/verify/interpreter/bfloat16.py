"""How Triton's types are kept in NumPy: bfloat16 as itself, not as bare integers."""

from typing import Any

import ml_dtypes
import numpy as np
import triton.language as tl
from triton.runtime import interpreter as stock

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
"""Rounds to nearest, ties to even, after every operation, as the hardware does."""

_stock_numpy_dtype = stock._get_np_dtype


def numpy_dtype(triton_dtype: Any) -> np.dtype[Any]:
    """The NumPy type that holds a Triton type, or the elements of a block."""
    scalar = triton_dtype.scalar if isinstance(triton_dtype, tl.block_type) else triton_dtype
    return BFLOAT16 if scalar == tl.bfloat16 else _stock_numpy_dtype(triton_dtype)
