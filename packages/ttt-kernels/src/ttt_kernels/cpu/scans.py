"""The inner loop on the CPU: memory for the results, and the compiled scans over all heads."""

from collections.abc import Sequence as Listed

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.adam import Adam, adam_scan, adam_scan_back, make_scratch
from ttt_kernels.cpu.arrays import array_of, empty, flat_array_of, sequence_of
from ttt_kernels.cpu.backward import Gradients, scan_back
from ttt_kernels.cpu.backward import Upstream as Arrived
from ttt_kernels.cpu.forward import Outputs, scan
from ttt_kernels.cpu.state import group_size, make_states
from ttt_kernels.cpu.threads import share
from ttt_kernels.cpu.tiles import Model, make_tiles
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.update import AdamMoments, InnerParameters


def forward(loop: InnerLoop, saved: list[Tensor]) -> ForwardResult:
    """Compute the output and the final state.

    Args:
        loop: any layers; float32 or float64.
        saved: of the shapes of `CpuKernel.saved_like`, to be filled in; empty if no backward pass
            will follow.
    """
    batch, _, heads, _ = loop.q.shape
    output, start = empty(loop.q.shape, loop.lr), _start(loop)
    state = loop.lr.new_empty(batch, heads, start.shape[-1])
    nothing = loop.lr.new_empty(0)
    by_interval = loop.checkpoint_interval is not None and bool(saved)
    gradients = saved[0] if saved else nothing.view(batch, heads, 0, 1, 1)
    kept = saved[1] if by_interval else nothing.view(batch, heads, 0, 1)
    sequence, interval, model = sequence_of(loop), loop.checkpoint_interval or 1, _model(loop)
    outputs = Outputs(flat_array_of(output), array_of(state), array_of(gradients), array_of(kept))
    begin, like, size = array_of(start), sequence.lr, loop.mini_batch_size
    moments = None
    if loop.adam is None:
        side_by_side = min(heads, group_size(model, size, like, 1))

        def work(first: int, last: int) -> None:
            states = make_states(side_by_side, model, size, like)
            tiles = make_tiles(sequence, model)
            scan(sequence, begin, outputs, tiles, states, model, first, last, interval)

        share(work, batch * heads)
        if saved and not by_interval:
            saved[1].copy_(state.unsqueeze(2))
    else:
        rows, adam = _adam(loop)

        def work(first: int, last: int) -> None:
            scratch = make_tiles(sequence, model), make_scratch(model, size, like)
            adam_scan(sequence, begin, adam, outputs, *scratch, model, first, last)

        share(work, batch * heads)
        moments = _moments(rows, adam, loop)
    weights, biases = _unpack(state, loop)
    parameters = InnerParameters(tuple(weights), tuple(biases), moments)
    return ForwardResult(output.to(loop.q.dtype), parameters, saved)


def backward(loop: InnerLoop, saved: Listed[Tensor], upstream: Upstream) -> ArgumentGradients:
    """Compute the gradient of every argument.

    Args:
        loop: that of the forward pass.
        saved: by `forward`.
        upstream: gradients of its results.
    """
    batch, tokens, heads, dim = loop.q.shape
    size, new, model = loop.mini_batch_size, loop.lr.new_empty, _model(loop)
    sequence, begin = sequence_of(loop), array_of(_start(loop))
    like, numbers = sequence.lr, begin.shape[-1]
    dq, dk, dv = (empty(loop.q.shape, loop.lr) for _ in range(3))
    dlr, deta = new(batch, tokens, heads), new(batch, heads, size)
    dstate, dnorm = new(batch, heads, numbers), new(2, batch, heads, dim)
    gradients = Gradients(
        *(flat_array_of(each) for each in (dq, dk, dv)),
        *(array_of(each) for each in (dlr, deta, dstate, dnorm)),
    )
    if loop.adam is None:
        arrived = _arrived(loop, saved, upstream)
        interval = loop.checkpoint_interval or max(1, tokens // size)
        room = (0 if loop.checkpoint_interval is None else interval, *saved[0].shape[3:])
        side_by_side = min(heads, group_size(model, size, like, 2))

        def work(first: int, last: int) -> None:
            tiles = make_tiles(sequence, model)
            states = tuple(make_states(side_by_side, model, size, like) for _ in range(2))
            scratch = np.empty((side_by_side, *room), like.dtype)
            scan_back(
                *(sequence, arrived, gradients, tiles, states, scratch, model),
                *(first, last, interval),
            )

    else:
        nothing = [new(batch, heads, 0, 1, 1), new(batch, heads, 0, numbers)]
        arrived, (_, adam) = _arrived(loop, nothing, upstream), _adam(loop)

        def work(first: int, last: int) -> None:
            scratch = make_tiles(sequence, model), make_scratch(model, size, like)
            dstates = make_states(1, model, size, like)
            adam_scan_back(
                *(sequence, begin, adam, arrived, gradients, *scratch, dstates, model),
                *(first, last),
            )

    share(work, batch * heads)
    dweights, dbiases = _unpack(dstate, loop)
    parameters, dtypes = loop.parameters, (loop.q.dtype, loop.k.dtype, loop.v.dtype)
    return ArgumentGradients(
        *(each.to(dtype) for each, dtype in zip((dq, dk, dv), dtypes, strict=True)),
        token_eta=deta.sum((0, 1)),
        lr=dlr,
        weights=_summed(dweights, parameters.weights),
        biases=_summed(dbiases, parameters.biases),
        ln_w=dnorm[0].sum(0),
        ln_b=dnorm[1].sum(0),
    )


def _arrived(loop: InnerLoop, saved: Listed[Tensor], upstream: Upstream) -> Arrived:
    lead, dtype = (loop.q.shape[0], loop.q.shape[2]), loop.lr.dtype
    like = loop.parameters
    weights, biases = (
        [
            loop.lr.new_zeros(part.shape[-dims:]) if each is None else each
            for each, part in zip(given, parts, strict=True)
        ]
        for given, parts, dims in (
            (upstream.weights, like.weights, 2),
            (upstream.biases, like.biases, 1),
        )
    )
    output = loop.lr.new_zeros(loop.q.shape) if upstream.output is None else upstream.output
    output = output.detach().to(dtype).contiguous()
    steps = np.array(output.stride()[:3], dtype=np.int64)
    state = pack(weights, biases, lead).to(dtype)
    return Arrived(flat_array_of(output), steps, *(array_of(each) for each in (state, *saved)))


def _summed(gradients: list[Tensor], like: Listed[Tensor]) -> list[Tensor]:
    """Sum over the batch what its sequences share."""
    return [
        each if each.dim() == part.dim() else each.sum(0)
        for each, part in zip(gradients, like, strict=True)
    ]


def _model(loop: InnerLoop) -> Model:
    weights = loop.parameters.weights
    return Model(len(weights), *weights[0].shape[-2:])


def _start(loop: InnerLoop) -> Tensor:
    """The initial state as rows of numbers, (1, H, S) or (B, H, S)."""
    weights, biases = loop.parameters.weights, loop.parameters.biases
    shared = all(w.dim() == 3 for w in weights) and all(b.dim() == 2 for b in biases)
    batch, _, heads, _ = loop.q.shape
    return pack(weights, biases, (1 if shared else batch, heads))


def _adam(loop: InnerLoop) -> tuple[list[Tensor], Adam]:
    """Copies of the moments, which will be those after the last complete mini-batch."""
    moments, settings = loop.parameters.moments, loop.adam
    if moments is None or settings is None:
        raise TypeError("Adam reads on from parameters with moments")
    lead = (loop.q.shape[0], loop.q.shape[2])
    layers = len(loop.parameters.weights)
    rows = [pack(part[:layers], part[layers:], lead) for part in (moments.first, moments.second)]
    return rows, Adam(
        *(array_of(each) for each in rows),
        step=moments.step,
        lr=settings.lr,
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=settings.eps,
    )


def _moments(rows: list[Tensor], adam: Adam, loop: InnerLoop) -> AdamMoments:
    """The moments after all complete mini-batches, which the scan has left in place."""
    first, second = (
        tuple(part for parts in _unpack(each, loop) for part in parts) for each in rows
    )
    return AdamMoments(first, second, adam.step + loop.q.shape[1] // loop.mini_batch_size)


def pack(weights: Listed[Tensor], biases: Listed[Tensor], lead: tuple[int, int]) -> Tensor:
    """Put the parts of a state side by side, layer after layer, (*lead, S)."""
    parts: list[Tensor] = []
    for weight, bias in zip(weights, biases, strict=True):
        parts += [weight.detach().expand(*lead, *weight.shape[-2:]).flatten(2)]
        parts += [bias.detach().expand(*lead, bias.shape[-1])]
    return torch.cat(parts, dim=-1)


def _unpack(rows: Tensor, loop: InnerLoop) -> tuple[list[Tensor], list[Tensor]]:
    """Copy the parts of a state out of (..., S)."""
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    at = 0
    for weight in loop.parameters.weights:
        inputs, outputs = weight.shape[-2:]
        middle, stop = at + inputs * outputs, at + inputs * outputs + outputs
        weights.append(
            rows[..., at:middle]
            .unflatten(-1, (inputs, outputs))
            .clone(memory_format=torch.contiguous_format)
        )
        biases.append(rows[..., middle:stop].clone(memory_format=torch.contiguous_format))
        at = stop
    return weights, biases
