"""TTT-Linear on the CPU: memory for the results, and the compiled scans over all heads."""

from collections.abc import Sequence as Listed

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.arrays import array_of, flat_array_of, sequence_of
from ttt_kernels.cpu.linear_adam import Adam, adam_scan, adam_scan_back, make_descent
from ttt_kernels.cpu.linear_backward import Gradients, make_heads, scan_back
from ttt_kernels.cpu.linear_backward import Upstream as Arrived
from ttt_kernels.cpu.linear_forward import GROUP, Outputs, make_states, scan
from ttt_kernels.cpu.linear_gradients import make_gradient_tiles
from ttt_kernels.cpu.threads import share
from ttt_kernels.cpu.tiles import make_tiles
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.update import AdamMoments, InnerParameters


def forward(loop: InnerLoop, saved: list[Tensor]) -> ForwardResult:
    """Compute the output and the final state.

    Args:
        loop: one layer; float32 or float64.
        saved: of the shapes of `CpuKernel.saved_like`, to be filled in; empty if no backward pass
            will follow.
    """
    batch, _, heads, dim = loop.q.shape
    programs = batch * heads
    output = loop.lr.new_empty(loop.q.shape)
    weight, bias = loop.lr.new_empty(batch, heads, dim, dim), loop.lr.new_empty(batch, heads, dim)
    sequence = sequence_of(loop)
    like, size = sequence.lr, loop.mini_batch_size
    nothing = loop.lr.new_empty(0)
    by_interval = loop.checkpoint_interval is not None and bool(saved)
    gradients = saved[0] if saved else nothing
    kept = saved[1:] if by_interval else (nothing.view(0, 0, 0, 0, 0), nothing.view(0, 0, 0, 0))
    outputs = Outputs(
        output=flat_array_of(output),
        weight=array_of(weight),
        bias=array_of(bias),
        gradients=flat_array_of(gradients),
        kept_weights=array_of(kept[0]),
        kept_biases=array_of(kept[1]),
    )
    moments = None
    if loop.adam is None:
        interval = loop.checkpoint_interval or 1

        def work(first: int, last: int) -> None:
            tiles, states = make_tiles(size, dim, like, shared=True), make_states(dim, like)
            scan(sequence, outputs, tiles, states, first, last, interval)

        share(work, programs)
        if saved and not by_interval:
            saved[1].copy_(weight.unsqueeze(2))
            saved[2].copy_(bias.unsqueeze(2))
    else:
        moments, adam = _adam(loop)

        def work(first: int, last: int) -> None:
            tiles, states = make_tiles(size, dim, like, shared=True), make_states(dim, like)
            descent = make_descent(dim, like)
            adam_scan(sequence, adam, outputs, tiles, states, descent, first, last)

        share(work, programs)
    return ForwardResult(
        output.to(loop.q.dtype), InnerParameters((weight,), (bias,), moments), saved
    )


def backward(loop: InnerLoop, saved: Listed[Tensor], upstream: Upstream) -> ArgumentGradients:
    """Compute the gradient of every argument.

    Args:
        loop: that of the forward pass.
        saved: by `forward`.
        upstream: gradients of its results.
    """
    batch, tokens, heads, dim = loop.q.shape
    size, new = loop.mini_batch_size, loop.lr.new_empty
    state = ((batch, heads, dim, dim), (batch, heads, dim))
    dq, dk, dv = (new(loop.q.shape) for _ in range(3))
    dlr, deta = new(batch, tokens, heads), new(batch, heads, size)
    dweight, dbias = (new(shape) for shape in state)
    dln_w, dln_b = new(batch, heads, dim), new(batch, heads, dim)
    gradients = Gradients(
        q=flat_array_of(dq),
        k=flat_array_of(dk),
        v=flat_array_of(dv),
        lr=array_of(dlr),
        token_eta=array_of(deta),
        weight=array_of(dweight),
        bias=array_of(dbias),
        ln_w=array_of(dln_w),
        ln_b=array_of(dln_b),
    )
    arrives = [
        _or_zeros(each, shape, loop.lr)
        for each, shape in zip(
            (upstream.output, upstream.weights[0], upstream.biases[0]),
            (loop.q.shape, *state),
            strict=True,
        )
    ]
    sequence = sequence_of(loop)
    like = sequence.lr
    if loop.adam is None:
        arrived = _arrived(arrives, saved)
        interval = loop.checkpoint_interval or max(1, tokens // size)
        kept = min(interval, tokens // size) if loop.checkpoint_interval else 0

        def work(first: int, last: int) -> None:
            tiles, group = make_tiles(size, dim, like, shared=False), make_heads(size, dim, like)
            grads = make_gradient_tiles(tiles)
            scratch = np.empty(GROUP * kept * size * dim, like.dtype)
            scan_back(
                *(sequence, arrived, gradients, tiles, grads, group, scratch),
                *(first, last, interval),
            )

        share(work, batch * heads)
    else:
        empty = [new(0), new(0, 0, 0, 0, 0), new(0, 0, 0, 0)]
        arrived = _arrived(arrives, empty)
        _, adam = _adam(loop)

        def work(first: int, last: int) -> None:
            tiles, group = make_tiles(size, dim, like, shared=False), make_heads(size, dim, like)
            grads, descent = make_gradient_tiles(tiles), make_descent(dim, like)
            adam_scan_back(
                *(sequence, adam, arrived, gradients, tiles, grads, group, descent, first, last)
            )

        share(work, batch * heads)
    dtypes = (loop.q.dtype, loop.k.dtype, loop.v.dtype)
    return ArgumentGradients(
        *(each.to(dtype) for each, dtype in zip((dq, dk, dv), dtypes, strict=True)),
        token_eta=deta.sum((0, 1)),
        lr=dlr,
        weights=[dweight if loop.parameters.weights[0].dim() == 4 else dweight.sum(0)],
        biases=[dbias if loop.parameters.biases[0].dim() == 3 else dbias.sum(0)],
        ln_w=dln_w.sum(0),
        ln_b=dln_b.sum(0),
    )


def _arrived(arrives: list[Tensor], saved: Listed[Tensor]) -> Arrived:
    output, weight, bias = arrives
    gradients, kept_weights, kept_biases = saved
    return Arrived(
        output=flat_array_of(output),
        weight=array_of(weight),
        bias=array_of(bias),
        gradients=flat_array_of(gradients),
        kept_weights=array_of(kept_weights),
        kept_biases=array_of(kept_biases),
    )


def _or_zeros(gradient: Tensor | None, shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
    if gradient is None:
        return like.new_zeros(shape)
    return gradient.detach().to(like.dtype).contiguous()


def _adam(loop: InnerLoop) -> tuple[AdamMoments, Adam]:
    """Copies of the moments, which will be those after the last complete mini-batch."""
    moments, settings = loop.parameters.moments, loop.adam
    if moments is None or settings is None:
        raise TypeError("linear-adam reads on from parameters with moments")
    first, second = (
        tuple(each.detach().clone(memory_format=torch.contiguous_format) for each in part)
        for part in (moments.first, moments.second)
    )
    steps = loop.q.shape[1] // loop.mini_batch_size
    adam = Adam(
        first_weight=array_of(first[0]),
        first_bias=array_of(first[1]),
        second_weight=array_of(second[0]),
        second_bias=array_of(second[1]),
        step=moments.step,
        lr=settings.lr,
        beta1=settings.beta1,
        beta2=settings.beta2,
        eps=settings.eps,
    )
    return AdamMoments(first, second, moments.step + steps), adam
