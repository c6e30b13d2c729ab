"""Tokens as batched matrix products want them: one matrix per mini-batch, sequence and head.

Everything without autograd counts sequences and heads as one axis of S = B H rows, so that each
product is one call of `torch.bmm` on three axes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt_kernels.kernel import InnerLoop


def by_mini_batch(x: Tensor, size: int) -> Tensor:
    """View (B, N size, H, ...) as (N, B, H, size, ...)."""
    return x.unflatten(1, (x.shape[1] // size, size)).movedim(1, 0).transpose(2, 3)


def fold(x: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Copy (B, N size, H, ...) to (N, S, size, ...), contiguous and in `dtype`."""
    view = by_mini_batch(x, size)
    return torch.empty(view.shape, dtype=dtype, device=x.device).copy_(view).flatten(1, 2)


def fold_rows(x: Tensor, batch: int, lead_dims: int) -> Tensor:
    """Copy (H, ...) or (B, H, ...), by `lead_dims` 1 or 2, to (S, ...)."""
    if lead_dims == 1:
        x = x.expand(batch, *x.shape)
    return x.flatten(0, 1).clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Segment:
    """N mini-batches of n tokens: all the complete ones, n = M, or the remainder, N <= 1.

    Attributes:
        start: index of the first token in the sequence.
        stop: index after the last.
        queries: (N, S, n, D).
        keys: (N, S, n, D).
        targets: v - k, (N, S, n, D).
        lr: (N, S, n).
        token_eta: (n,).
        causal_eta: token_eta_i for j <= i and 0 above the diagonal, (n, n).
        learned: whether each mini-batch ends in an update of the state.
    """

    start: int
    stop: int
    queries: Tensor
    keys: Tensor
    targets: Tensor
    lr: Tensor
    token_eta: Tensor
    causal_eta: Tensor
    learned: bool

    @property
    def count(self) -> int:
        """N."""
        return len(self.queries)

    def eta(self, index: int) -> Tensor:
        """Return eta[i, j] = token_eta_i lr_j on and below the diagonal, (S, n, n)."""
        return self.causal_eta * self.lr[index].unsqueeze(-2)

    def last_eta(self, index: int) -> Tensor:
        """Last row of eta as a column, (S, n, 1)."""
        return (self.token_eta[-1] * self.lr[index]).unsqueeze(-1)


def segments(loop: InnerLoop) -> Iterator[Segment]:
    """Yield the complete mini-batches, then the remainder; only what is not empty."""
    tokens, size = loop.q.shape[1], loop.mini_batch_size
    complete = tokens // size * size
    for start, stop, width in ((0, complete, size), (complete, tokens, tokens - complete)):
        if start < stop:
            yield _cut(loop, start, stop, width)


def _cut(loop: InnerLoop, start: int, stop: int, size: int) -> Segment:
    dtype = loop.lr.dtype
    queries, keys, targets, lr = (
        fold(x[:, start:stop], size, dtype) for x in (loop.q, loop.k, loop.v, loop.lr)
    )
    token_eta = loop.token_eta[:size]
    causal_eta = token_eta.unsqueeze(-1).expand(size, size).tril()
    targets.sub_(keys)
    learned = size == loop.mini_batch_size
    return Segment(start, stop, queries, keys, targets, lr, token_eta, causal_eta, learned)
