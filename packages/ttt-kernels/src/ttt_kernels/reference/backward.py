"""The gradient of the inner loop over a whole sequence, by hand and without a graph.

Mini-batches are walked from the last to the first, carrying the gradient of the state. Of each
group of `checkpoint_interval` mini-batches the state at its start is known; the keys' half of the
group is replayed from there, since it alone moves the state, and kept for the walk. So memory is
that of the tokens, of one state per group and of one group.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.kernel import ArgumentGradients, InnerLoop, Upstream
from ttt_kernels.reference.batched import KeyPass, LayerNorm, read_keys, read_queries, step
from ttt_kernels.reference.forward import Saved, copy_state, interval_of, norm_of
from ttt_kernels.reference.layout import Segment, by_mini_batch, fold, segments
from ttt_kernels.reference.mini_batch_backward import TokenGradients, mini_batch_backward
from ttt_kernels.reference.update import InnerParameters


class _Totals(NamedTuple):
    """Gradients that gather over segments.

    Attributes:
        q: (B, T, H, D) in the dtype of q, likewise k and v.
        k: see q.
        v: see q.
        lr: (B, T, H).
        token_eta: (M,).
        ln_w: (S, D).
        ln_b: (S, D).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    lr: Tensor
    token_eta: Tensor
    ln_w: Tensor
    ln_b: Tensor


@torch.no_grad()
def backward(loop: InnerLoop, saved: Saved, upstream: Upstream) -> ArgumentGradients:
    """Return the gradient of every argument; see `ttt_kernels.kernel.Kernel.backward`."""
    norm, interval = norm_of(loop), interval_of(loop)
    d_state = _final_state_gradient(loop, upstream)
    totals = _zero_totals(loop)
    for segment in reversed(list(segments(loop))):
        slabs = _allocate(segment, upstream.output, totals)
        answers = saved.answers if segment.learned else saved.open_answers
        for start in reversed(range(0, segment.count, interval)):
            stop = min(start + interval, segment.count)
            replayed = _replay(segment, start, stop, loop, saved, norm)
            for index in reversed(range(start, stop)):
                state, keys = replayed.pop()
                _walk_back(segment, index, state, keys, loop, norm, answers, slabs, d_state)
        _collect(segment, slabs, totals)
    return _as_arguments(loop, totals, d_state)


def _zero_totals(loop: InnerLoop) -> _Totals:
    def empty(x: Tensor) -> Tensor:
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)

    rows, dim = loop.q.shape[0] * loop.q.shape[2], loop.q.shape[3]
    return _Totals(
        q=empty(loop.q),
        k=empty(loop.k),
        v=empty(loop.v),
        lr=empty(loop.lr),
        token_eta=loop.token_eta.new_zeros(loop.mini_batch_size),
        ln_w=loop.ln_w.new_zeros(rows, dim),
        ln_b=loop.ln_w.new_zeros(rows, dim),
    )


def _final_state_gradient(loop: InnerLoop, upstream: Upstream) -> InnerParameters:
    """Copy what arrives at the final state, one row per sequence and head."""
    batch, _, heads, _ = loop.q.shape

    def copy(gradients: Sequence[Tensor | None], like: Sequence[Tensor], dims: int) -> list[Tensor]:
        shapes = [(batch * heads, *x.shape[-dims:]) for x in like]
        return [
            loop.lr.new_zeros(shape)
            if g is None
            else g.reshape(shape).clone(memory_format=torch.contiguous_format)
            for g, shape in zip(gradients, shapes, strict=True)
        ]

    return InnerParameters(
        tuple(copy(upstream.weights, loop.parameters.weights, 2)),
        tuple(copy(upstream.biases, loop.parameters.biases, 1)),
    )


def _allocate(segment: Segment, d_output: Tensor | None, totals: _Totals) -> TokenGradients:
    """Make room for a segment's gradients, (N, S, n, ...) each, but `ln_w`, which is (S, n, D).

    The room for that of the queries holds the gradient of the outputs.
    """
    size = segment.queries.shape[2]
    if d_output is None:
        d_queries = torch.zeros_like(segment.queries)
    else:
        cut = d_output[:, segment.start : segment.stop]
        d_queries = fold(cut, size, segment.queries.dtype)
        totals.ln_b.add_(d_queries.sum((0, 2)))
    return TokenGradients(
        queries=d_queries,
        keys=torch.empty_like(d_queries),
        targets=torch.empty_like(d_queries),
        eta=d_queries.new_empty(*d_queries.shape[:3], size),
        ln_w=d_queries.new_zeros(d_queries.shape[1:]),
    )


def _replay(
    segment: Segment, start: int, stop: int, loop: InnerLoop, saved: Saved, norm: LayerNorm
) -> list[tuple[InnerParameters, KeyPass]]:
    """Read the keys of a group again: the state each mini-batch starts from and what it learns."""
    if segment.learned:
        state = saved.load(start // interval_of(loop), loop, start)
    else:
        state = saved.load(-1, loop, 0)
    replayed = []
    for index in range(start, stop):
        keys = read_keys(segment.keys[index], segment.targets[index], state, norm, curvature=True)
        replayed.append((state, keys))
        if index < stop - 1:
            state = step(copy_state(state), keys, segment.last_eta(index), loop.adam)
    return replayed


def _walk_back(
    segment: Segment,
    index: int,
    state: InnerParameters,
    keys: KeyPass,
    loop: InnerLoop,
    norm: LayerNorm,
    answers: Tensor,
    slabs: TokenGradients,
    d_state: InnerParameters,
) -> None:
    """Take `d_state` from the end of a mini-batch to its start; fill in its tokens' gradients."""
    eta = segment.eta(index)
    queries = read_queries(segment.queries[index], keys, eta, state)
    through_state = segment.learned and loop.adam is None
    last_eta = segment.last_eta(index) if through_state else None
    d_queries, d_keys, d_targets, d_eta, d_ln_w = slabs
    out = TokenGradients(d_queries[index], d_keys[index], d_targets[index], d_eta[index], d_ln_w)
    mini_batch_backward(keys, queries, eta, last_eta, state, norm, answers[index], d_state, out)


def _collect(segment: Segment, slabs: TokenGradients, totals: _Totals) -> None:
    """Put a segment's gradients where their arguments' tokens stand, and sum up the others."""
    d_queries, d_keys, d_targets, d_eta, d_ln_w = slabs
    count, _, size, _ = d_queries.shape
    d_keys.sub_(d_targets)
    d_eta.tril_()
    d_token_eta = torch.matmul(d_eta, segment.lr.unsqueeze(-1)).sum((0, 1, 3))
    d_lr = d_eta.mul_(segment.token_eta.unsqueeze(-1)).sum(2)
    for total, part in (
        (totals.q, d_queries),
        (totals.k, d_keys),
        (totals.v, d_targets),
        (totals.lr, d_lr),
    ):
        view = by_mini_batch(total[:, segment.start : segment.stop], size)
        view.copy_(part.view(count, *view.shape[1:]))
    totals.token_eta[:size].add_(d_token_eta)
    totals.ln_w.add_(d_ln_w.sum(1))
    totals.ln_b.sub_(d_targets.sum((0, 2)))


def _as_arguments(loop: InnerLoop, totals: _Totals, d_state: InnerParameters) -> ArgumentGradients:
    """Give each gradient its argument's shape; what the batch shares is summed over it."""
    batch = len(loop.q)

    def shaped(rows: Tensor, like: Tensor) -> Tensor:
        by_sequence = rows.unflatten(0, (batch, rows.shape[0] // batch))
        return by_sequence if by_sequence.dim() == like.dim() else by_sequence.sum(0)

    weights, biases = loop.parameters.weights, loop.parameters.biases
    return ArgumentGradients(
        totals.q,
        totals.k,
        totals.v,
        totals.token_eta,
        totals.lr,
        [shaped(d, w) for d, w in zip(d_state.weights, weights, strict=True)],
        [shaped(d, b) for d, b in zip(d_state.biases, biases, strict=True)],
        shaped(totals.ln_w, loop.ln_w),
        shaped(totals.ln_b, loop.ln_b),
    )
