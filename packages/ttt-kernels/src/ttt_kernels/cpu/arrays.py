"""From torch to what compiled code takes: arrays of one type that share the tensors' memory."""

from collections.abc import Sequence as Listed

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.tiles import Sequence
from ttt_kernels.kernel import InnerLoop


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
    """An empty tensor of the dtype of another, as NumPy allocates it.

    It asks for large pages, of which a result of some megabytes touches a few; torch touches
    thousands, and each costs as much as hundreds of multiplications.
    """
    return torch.from_numpy(np.empty(shape, like.detach().numpy().dtype))


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
