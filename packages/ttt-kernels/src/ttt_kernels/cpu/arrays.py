"""From torch to what compiled code takes: arrays of one type that share the tensors' memory."""

import math
import weakref
from collections.abc import Sequence as Listed

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.tiles import Sequence, aligned
from ttt_kernels.cpu.vector import LINE_BYTES
from ttt_kernels.kernel import InnerLoop

_PAGE_BYTES = 1 << 21
_FRESH_BYTES = 1 << 17
"""Arrays below it are made anew: memory that small is rarely asked of the system."""
KEPT_BYTES = 1 << 28
"""Of memory for results that is kept to be used again, at most. A step of 2048 tokens of the 125m
model has 229 MB: 520 bytes kept and 256 answered by each of 12 layers, 12 heads and the tokens."""
_rooms: list[np.ndarray] = []


def sequence_of(loop: InnerLoop) -> Sequence:
    """Give the arguments of an inner loop to compiled code, copying only what has other types."""
    dtype = loop.lr.dtype
    tokens = [_tokens(each, dtype) for each in (loop.q, loop.k, loop.v)]
    q, k, v = (_span(each) for each in tokens)
    return Sequence(
        q=q,
        k=k,
        v=v,
        steps=np.array([each.stride()[:3] for each in tokens], dtype=np.int64),
        lr=array_of(loop.lr),
        token_eta=array_of(loop.token_eta),
        ln_w=array_of(loop.ln_w),
        ln_b=array_of(loop.ln_b),
        eps=array_of(loop.lr).dtype.type(loop.eps),
    )


def empty(shape: Listed[int], like: Tensor) -> Tensor:
    """An empty tensor of the dtype of another, from the border of a line on, or of a large page.

    The system clears the memory it gives, every time, at the price of hundreds of products for each
    page; so memory is used again, once nobody has the tensor any more. For arrays of some megabytes
    NumPy asks for large pages, of which a few are touched here; torch would touch thousands of
    small ones.
    """
    dtype = like.detach().numpy().dtype
    length = math.prod(shape) * dtype.itemsize
    border = LINE_BYTES if length < _PAGE_BYTES else _PAGE_BYTES
    if length < _FRESH_BYTES:
        return torch.from_numpy(aligned(np.empty(length + border, np.uint8), shape, dtype))
    room = _take_room(length + border)
    array = aligned(room, shape, dtype, border)
    weakref.finalize(array, _give_room, room)
    return torch.from_numpy(array)


def _take_room(length: int) -> np.ndarray:
    """Memory of that many bytes: what was given back last, if it fits.

    What is popped is nobody else's, so no other thread and no finalizer can come between.
    """
    others: list[np.ndarray] = []
    try:
        while len(room := _rooms.pop()) != length:
            others.append(room)
    except IndexError:
        room = np.empty(length, np.uint8)
    _rooms.extend(reversed(others))
    return room


def _give_room(room: np.ndarray) -> None:
    """Keep memory that nobody uses any more; the oldest goes when it is too much."""
    _rooms.append(room)
    while sum(map(len, tuple(_rooms))) > KEPT_BYTES:
        del _rooms[:1]


def flat_array_of(tensor: Tensor) -> np.ndarray:
    """Give a contiguous tensor to compiled code, as flat memory."""
    return tensor.detach().view(-1).numpy()


def array_of(tensor: Tensor) -> np.ndarray:
    """Give a tensor to compiled code, in its shape."""
    return tensor.detach().contiguous().numpy()


def _tokens(tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Tokens in the type of the state, the features of one side by side."""
    converted = tokens.detach().to(dtype)
    return converted if converted.stride(-1) == 1 else converted.contiguous()


def _span(tensor: Tensor) -> np.ndarray:
    """Everything from the first number of a tensor to the last, whatever lies between."""
    length = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((length,), (1,)).numpy()
