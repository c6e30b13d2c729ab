"""Compiling: one decorator for all machine code of the kernels, kept on disk between processes."""

from collections.abc import Callable
from typing import Any

import numba

# No reordering that could hide a NaN or an infinity; sums may be vectorised.
_OPTIONS = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "arcp", "reassoc"},
}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called with arguments of some types."""
    return numba.njit(**_OPTIONS)(function)
