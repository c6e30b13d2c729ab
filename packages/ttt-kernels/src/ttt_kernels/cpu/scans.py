"""The inner loop on the CPU: memory for the results, and the compiled scans over all heads."""

import math
from collections.abc import Sequence as Listed
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.adam import Adam, States, adam_scan, adam_scan_back
from ttt_kernels.cpu.arrays import array_of, empty, flat_array_of, sequence_of
from ttt_kernels.cpu.backward import Gradients, scan_back
from ttt_kernels.cpu.backward import Upstream as Arrived
from ttt_kernels.cpu.forward import Outputs, scan
from ttt_kernels.cpu.scratch import scratch
from ttt_kernels.cpu.state import group_size
from ttt_kernels.cpu.threads import share
from ttt_kernels.cpu.tiles import Model
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.update import AdamMoments, InnerParameters

Part = TypeVar("Part")


def forward(loop: InnerLoop, saved: list[Tensor]) -> ForwardResult:
    """Compute the output and the final state.

    Args:
        loop: any layers; float32 or float64.
        saved: of the shapes of `CpuKernel.saved_like`, to be filled in; empty if no backward pass
            will follow.
    """
    batch, _, heads, _ = loop.q.shape
    sequence, start, model = sequence_of(loop), _start(loop), _model(loop)
    size, dtype = loop.mini_batch_size, start.dtype
    output = empty(loop.q.shape, loop.lr)
    state = np.empty((batch, heads, start.shape[-1]), dtype)
    by_interval = loop.checkpoint_interval is not None and bool(saved)
    interval = loop.checkpoint_interval or 1
    outputs = Outputs(
        flat_array_of(output),
        state,
        array_of(saved[0]) if saved else np.empty((batch, heads, 0, 1, 1), dtype),
        array_of(saved[1]) if by_interval else np.empty((batch, heads, 0, 1), dtype),
    )
    moments = None
    if loop.adam is None:
        side_by_side = min(heads, group_size(model, size, dtype, 1))

        def work(first: int, last: int) -> None:
            tiles, [states] = scratch(model, size, dtype, side_by_side, 1)
            scan(sequence, start, outputs, tiles, states, model, first, last, interval)

        share(work, batch * heads)
        if saved and not by_interval:
            array_of(saved[1])[:, :, 0] = state
    else:
        adam = _adam(loop)

        def work(first: int, last: int) -> None:
            tiles, states = scratch(model, size, dtype, 1, 4)
            adam_scan(sequence, start, adam, outputs, tiles, States(*states), model, first, last)

        share(work, batch * heads)
        moments = _moments(adam, loop)
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
    sequence, size, model = sequence_of(loop), loop.mini_batch_size, _model(loop)
    dtype = sequence.lr.dtype
    dq, dk, dv = (empty(loop.q.shape, loop.lr) for _ in range(3))
    arrived = _arrived(loop, saved, upstream)
    gradients = Gradients(
        *(flat_array_of(each) for each in (dq, dk, dv)),
        lr=np.empty((batch, tokens, heads), dtype),
        token_eta=np.empty((batch, heads, size), dtype),
        state=np.empty(arrived.state.shape, dtype),
        norm=np.empty((2, batch, heads, dim), dtype),
    )
    if loop.adam is None:
        interval = loop.checkpoint_interval or max(1, tokens // size)
        replayed = (0 if loop.checkpoint_interval is None else interval, *saved[0].shape[3:])
        side_by_side = min(heads, group_size(model, size, dtype, 2))

        def work(first: int, last: int) -> None:
            tiles, states = scratch(model, size, dtype, side_by_side, 2)
            room = np.empty((side_by_side, *replayed), dtype)
            scan_back(
                *(sequence, arrived, gradients, tiles, states, room, model),
                *(first, last, interval),
            )

    else:
        adam, start = _adam(loop), _start(loop)

        def work(first: int, last: int) -> None:
            tiles, [*states, dstates] = scratch(model, size, dtype, 1, 5)
            adam_scan_back(
                *(sequence, start, adam, arrived, gradients, tiles, States(*states), dstates),
                *(model, first, last),
            )

    share(work, batch * heads)
    dnorm = torch.from_numpy(gradients.norm).sum(1)
    dweights, dbiases = _unpack(gradients.state, loop, summed=True)
    dtypes = loop.q.dtype, loop.k.dtype, loop.v.dtype
    return ArgumentGradients(
        *(each.to(dtype) for each, dtype in zip((dq, dk, dv), dtypes, strict=True)),
        token_eta=torch.from_numpy(gradients.token_eta).sum((0, 1)),
        lr=torch.from_numpy(gradients.lr),
        weights=dweights,
        biases=dbiases,
        ln_w=dnorm[0].clone(),
        ln_b=dnorm[1].clone(),
    )


def _arrived(loop: InnerLoop, saved: Listed[Tensor], upstream: Upstream) -> Arrived:
    output = loop.lr.new_zeros(loop.q.shape) if upstream.output is None else upstream.output
    output = output.detach().to(loop.lr.dtype).contiguous()
    steps = np.array(output.stride()[:3], dtype=np.int64)
    state = _pack(loop, loop.q.shape[0], upstream.weights, upstream.biases)
    if loop.adam is None:
        return Arrived(flat_array_of(output), steps, state, *(array_of(each) for each in saved))
    lead, dtype = state.shape[:2], state.dtype
    nothing = np.empty((*lead, 0, 1, 1), dtype), np.empty((*lead, 0, 1), dtype)
    return Arrived(flat_array_of(output), steps, state, *nothing)


def _model(loop: InnerLoop) -> Model:
    weights = loop.parameters.weights
    return Model(len(weights), *weights[0].shape[-2:])


def _start(loop: InnerLoop) -> np.ndarray:
    """The initial state as rows of numbers, (1, H, S) or (B, H, S)."""
    weights, biases = loop.parameters.weights, loop.parameters.biases
    shared = all(w.dim() == 3 for w in weights) and all(b.dim() == 2 for b in biases)
    return _pack(loop, 1 if shared else loop.q.shape[0], weights, biases)


def _adam(loop: InnerLoop) -> Adam:
    """Copies of the moments, which will be those after the last complete mini-batch."""
    moments, settings = loop.parameters.moments, loop.adam
    if moments is None or settings is None:
        raise TypeError("Adam reads on from parameters with moments")
    layers = len(loop.parameters.weights)
    return Adam(
        *(
            _pack(loop, loop.q.shape[0], part[:layers], part[layers:])
            for part in (moments.first, moments.second)
        ),
        step=moments.step,
        lr=settings.lr,
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=settings.eps,
    )


def _moments(adam: Adam, loop: InnerLoop) -> AdamMoments:
    """The moments after all complete mini-batches, which the scan has left in place."""
    first, second = (
        tuple(part for parts in _unpack(each, loop) for part in parts)
        for each in (adam.first, adam.second)
    )
    return AdamMoments(first, second, adam.step + loop.q.shape[1] // loop.mini_batch_size)


def _pack(
    loop: InnerLoop, batch: int, weights: Listed[Tensor | None], biases: Listed[Tensor | None]
) -> np.ndarray:
    """Put the parts of a state side by side, layer after layer, (batch, H, S).

    Each is one for all sequences or one for each; None stands for zeros.
    """
    heads, dtype = loop.q.shape[2], array_of(loop.lr).dtype
    sizes = [math.prod(shape) for shape in _shapes(loop)]
    rows, at = np.empty((batch, heads, sum(sizes)), dtype), 0
    for part, numbers in zip(_in_turn(weights, biases), sizes, strict=True):
        rows[..., at : at + numbers] = (
            0 if part is None else part.detach().numpy().reshape(-1, heads, numbers)
        )
        at += numbers
    return rows


def _unpack(
    rows: np.ndarray, loop: InnerLoop, *, summed: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """Copy the parts of states out of (B, H, S), weights and biases.

    Those that sequences share are `summed` over them, if that is asked for.
    """
    likes = _in_turn(loop.parameters.weights, loop.parameters.biases)
    parts: list[Tensor] = []
    at = 0
    for like, shape in zip(likes, _shapes(loop), strict=True):
        numbers = math.prod(shape)
        part = rows[..., at : at + numbers]
        if summed and like.dim() == len(shape) + 1:
            parts.append(torch.from_numpy(part).sum(0).view(-1, *shape))
        else:
            parts.append(torch.from_numpy(part.copy()).view(*rows.shape[:2], *shape))
        at += numbers
    return parts[::2], parts[1::2]


def _in_turn(weights: Listed[Part], biases: Listed[Part]) -> list[Part]:
    """Layer after layer, as in a state's numbers."""
    return [part for layer in zip(weights, biases, strict=True) for part in layer]


def _shapes(loop: InnerLoop) -> list[tuple[int, ...]]:
    """Shapes of the parts of one head's state, in the order of its numbers."""
    return [
        shape
        for weight in loop.parameters.weights
        for shape in (tuple(weight.shape[-2:]), (weight.shape[-1],))
    ]
