"""From torch to what compiled code takes: arrays of one type that share the tensors' memory."""

import math
from collections.abc import Sequence as Listed

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.tiles import Sequence
from ttt_kernels.kernel import InnerLoop

_PAGE_BYTES = 1 << 21


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
    """An empty tensor of the dtype of another, from the border of a large page on.

    For arrays of some megabytes NumPy asks for large pages, of which a few are touched here; torch
    would touch thousands of small ones, each at the price of hundreds of products.
    """
    dtype = like.detach().numpy().dtype
    length = math.prod(shape) * dtype.itemsize
    if length < _PAGE_BYTES:
        return torch.from_numpy(np.empty(shape, dtype))
    room = np.empty(length + _PAGE_BYTES, np.uint8)
    start = -room.ctypes.data % _PAGE_BYTES
    return torch.from_numpy(room[start : start + length].view(dtype).reshape(shape))


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
