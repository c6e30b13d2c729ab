"""Scratch memory of the scans: made once for a thread and a shape, and used again call by call."""

import threading
from functools import lru_cache

import numpy as np

from ttt_kernels.cpu.state import State, make_states
from ttt_kernels.cpu.tiles import Model, Tiles, make_tiles

_SHAPES = 4
"""Of which a thread keeps its scratch memory: two directions, of two models."""


def scratch(
    model: Model, size: int, dtype: np.dtype, heads: int, states: int
) -> tuple[Tiles, tuple[State, ...]]:
    """Tiles for mini-batches of `size` tokens, and states of so many heads.

    They are this thread's until it asks again, and hold what was left in them.
    """
    return _own.make(model, size, dtype, heads, states)


def _make(
    model: Model, size: int, dtype: np.dtype, heads: int, states: int
) -> tuple[Tiles, tuple[State, ...]]:
    made = tuple(make_states(heads, model, size, dtype) for _ in range(states))
    return make_tiles(model, size, dtype), made


class _Own(threading.local):
    def __init__(self) -> None:
        self.make = lru_cache(_SHAPES)(_make)


_own = _Own()
