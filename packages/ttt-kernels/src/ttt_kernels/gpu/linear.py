"""TTT-Linear on a GPU: memory for the results, and the launches that fill it.

A launch reads a span of tokens from one state to the next. All kernels are used alike: `naive` and
`tile` launch once for each mini-batch, their `-multi` forms once for the sequence. A checkpoint
interval cuts the sequence into parts whose first states are kept and whose g are computed again;
no launch reaches from one into the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ttt_kernels.gpu.arguments import Gradients, Inputs, Start, State, Strided
from ttt_kernels.gpu.launch import Shape, launch_options, next_power_of_2, target_of
from ttt_kernels.gpu.naive_backward import naive_backward
from ttt_kernels.gpu.naive_forward import naive_forward
from ttt_kernels.gpu.tile_backward import tile_backward
from ttt_kernels.gpu.tile_forward import tile_forward
from ttt_kernels.kernel import ArgumentGradients, ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference.update import InnerParameters

TILE_ROWS = 16
"""Tokens of a tile: the least that a matrix unit takes."""

LARGEST_OFFSET = 2**31 - 1
"""Offsets within a span are 32 bits wide."""


@dataclass(frozen=True)
class Family:
    """A forward and a backward kernel that understand each other.

    Attributes:
        name: `naive` or `tile`.
        forward: the kernel.
        backward: the kernel.
        keeps: dtype of the kept g; None is that of the tokens.
        tiled: whether tokens are read in tiles.
    """

    name: str
    forward: Any
    backward: Any
    keeps: torch.dtype | None
    tiled: bool

    def options(self, loop: InnerLoop, *, forward: bool) -> dict[str, Any]:
        """Constants that one of the two is compiled for, and how it is launched."""
        kernel = self.forward if forward else self.backward
        batch, _, heads, dim = loop.q.shape
        size = loop.mini_batch_size
        constants = {
            "M": size,
            "D": dim,
            "M_PAD": next_power_of_2(size),
            "D_PAD": max(TILE_ROWS if self.tiled else 1, next_power_of_2(dim)),
            "ROWS": TILE_ROWS,
            "PRECISION": _precision(loop.q),
        }
        shape = Shape.of(kernel.__name__, dim, size, loop.q.dtype)
        return {
            **{name: value for name, value in constants.items() if name in kernel.arg_names},
            **launch_options(shape, batch * heads, loop.q.device),
        }


NAIVE = Family("naive", naive_forward, naive_backward, keeps=torch.float32, tiled=False)
TILE = Family("tile", tile_forward, tile_backward, keeps=None, tiled=True)


Span = tuple[int, int]
"""First token, and the one behind the last."""


def intervals(loop: InnerLoop) -> list[Span]:
    """Cut the tokens where the checkpoint interval says; they are one span if there is none."""
    tokens = loop.q.shape[1]
    if loop.checkpoint_interval is None:
        return [(0, tokens)]
    return _cut((0, tokens), loop.checkpoint_interval * loop.mini_batch_size)


def launches(loop: InnerLoop, span: Span, mini_batches: int | None) -> list[Span]:
    """Cut a span into what is read by one launch each.

    Args:
        loop: the arguments.
        span: begins with a mini-batch.
        mini_batches: of a launch; None is as many as 32-bit offsets reach.
    """
    _, _, heads, dim = loop.q.shape
    size = loop.mini_batch_size
    widest = max(heads * dim, *(x.stride(1) for x in (loop.q, loop.k, loop.v, loop.lr)))
    reach = max(1, LARGEST_OFFSET // (widest * size))
    return _cut(span, min(reach, mini_batches or reach) * size)


def _cut(span: Span, length: int) -> list[Span]:
    start, stop = span
    return [(first, min(first + length, stop)) for first in range(start, stop, length)]


def forward(
    loop: InnerLoop, family: Family, mini_batches: int | None, saved: list[Tensor]
) -> ForwardResult:
    """Compute the output and the final state.

    Args:
        loop: one layer, float32 state.
        family: which kernels.
        mini_batches: of a launch.
        saved: of the shapes of `TritonKernel.saved_like`, to be filled in; empty if no backward
            pass will follow.
    """
    if not saved:  # nothing goes back
        loop = replace(loop, checkpoint_interval=None)
    checkpoints = loop.checkpoint_interval is not None
    output = torch.empty(loop.q.shape, dtype=loop.q.dtype, device=loop.q.device)
    kept = saved[0] if saved and not checkpoints else None
    state = _first(loop)
    for number, interval in enumerate(intervals(loop)):
        if checkpoints:
            saved[0][number].copy_(state.weight)
            saved[1][number].copy_(state.bias)
        for span in launches(loop, interval, mini_batches):
            state = _read(loop, family, span, state, output, kept)
    if kept is not None:
        saved[1].copy_(state.weight)
        saved[2].copy_(state.bias)
    return ForwardResult(output, InnerParameters((state.weight,), (state.bias,)), saved)


def backward(
    loop: InnerLoop,
    family: Family,
    mini_batches: int | None,
    saved: Sequence[Tensor],
    upstream: Upstream,
) -> ArgumentGradients:
    """Compute the gradient of every argument.

    Args:
        loop: that of the forward pass.
        family: which kernels.
        mini_batches: of a launch.
        saved: by `forward`.
        upstream: gradients of its results.
    """
    batch, tokens, heads, dim = loop.q.shape
    checkpoints = loop.checkpoint_interval is not None
    new = loop.lr.new_zeros
    gradients = Gradients(
        *(torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (loop.q, loop.k, loop.v)),
        lr=loop.lr.new_empty(batch, tokens, heads),
        token_eta=new(batch, heads, loop.mini_batch_size),
        ln_w=new(batch, heads, dim),
        ln_b=new(batch, heads, dim),
        state=State(
            *(
                like.new_zeros(like.shape) if given is None else given.to(like.dtype, copy=True)
                for given, like in zip(
                    (upstream.weights[0], upstream.biases[0]), _new_state(loop), strict=True
                )
            )
        ),
    )
    given = upstream.output
    d_out = loop.q.new_zeros(loop.q.shape) if given is None else given.to(loop.q.dtype)
    d_out = d_out.contiguous()
    means = [x.mean(-1, keepdim=True) for x in _first(loop)]
    kept = _empty_kept(loop, family) if checkpoints else saved[0]
    for number, interval in reversed(list(enumerate(intervals(loop)))):
        spans = launches(loop, interval, mini_batches)
        if checkpoints:
            state = State(saved[0][number], saved[1][number])
            for span in spans:
                state = _read(loop, family, span, state, None, kept)
        else:
            state = State(saved[1], saved[2])
        # as the forward kernels do: see `tiles.load_centered`
        state = State(*(x - mean for x, mean in zip(state, means, strict=True)))
        for span in reversed(spans):
            _read_back(loop, family, span, state, kept, d_out, gradients)
    return _summed(gradients, loop)


def _summed(gradients: Gradients, loop: InnerLoop) -> ArgumentGradients:
    """Sum over the batch what each sequence has of its own."""
    shared = loop.parameters.weights[0].dim() == 3
    weight, bias = (x.sum(0) if shared else x for x in gradients.state)
    return ArgumentGradients(
        *(gradients.q, gradients.k, gradients.v),
        token_eta=gradients.token_eta.sum((0, 1)),
        lr=gradients.lr,
        weights=[weight],
        biases=[bias],
        ln_w=gradients.ln_w.sum(0),
        ln_b=gradients.ln_b.sum(0),
    )


def _read(
    loop: InnerLoop,
    family: Family,
    span: Span,
    start: State,
    output: Tensor | None,
    kept: Tensor | None,
) -> State:
    """Launch the forward kernel over a span, for the state at its end.

    `output` and `kept` are those of all tokens.
    """
    end, cut = _new_state(loop), slice(*span)
    first, lr = _first(loop), loop.lr[:, cut]
    batch, tokens, heads = lr.shape
    all_tokens, dim = loop.q.shape[1], loop.q.shape[3]
    out, g = (loop.q if x is None else x[:, cut] for x in (output, kept))
    family.forward[(batch * heads,)](
        *(_inputs(loop, cut), lr, Start(start, _count(start), first, _count(first))),
        *(out, g, end, tokens, heads, loop.eps, *lr.stride()),
        *(all_tokens * heads * dim, heads * dim),
        ANSWER=output is not None,
        KEEP=kept is not None,
        **family.options(loop, forward=True),
    )
    return end


def _read_back(
    loop: InnerLoop,
    family: Family,
    span: Span,
    state: State,
    kept: Tensor,
    d_out: Tensor,
    gradients: Gradients,
) -> None:
    """Launch the backward kernel over a span: `state` and `gradients` go from its end to its start.

    `kept`, `d_out` and the gradients of tokens are those of all tokens, in one layout.
    """
    cut = slice(*span)
    lr = loop.lr[:, cut]
    batch, tokens, heads = lr.shape
    of_span = {name: getattr(gradients, name)[:, cut] for name in ("q", "k", "v", "lr")}
    family.backward[(batch * heads,)](
        *(_inputs(loop, cut), lr, kept[:, cut], d_out[:, cut], state),
        *(gradients._replace(**of_span), tokens, heads, loop.eps),
        *(*lr.stride(), *d_out.stride()[:2]),
        **family.options(loop, forward=False),
    )


def _inputs(loop: InnerLoop, cut: slice) -> Inputs:
    q, k, v = (Strided.of(x[:, cut]) for x in (loop.q, loop.k, loop.v))
    return Inputs(q, k, v, loop.token_eta, loop.ln_w, loop.ln_b)


def _first(loop: InnerLoop) -> State:
    """The state that the sequence starts from."""
    return State(*(x[0].contiguous() for x in (loop.parameters.weights, loop.parameters.biases)))


def _count(state: State) -> int:
    """Models in a state: B H, or H if the sequences share them."""
    return state.bias[..., 0].numel()


def _new_state(loop: InnerLoop) -> State:
    batch, _, heads, dim = loop.q.shape
    return State(loop.lr.new_empty(batch, heads, dim, dim), loop.lr.new_empty(batch, heads, dim))


def _empty_kept(loop: InnerLoop, family: Family) -> Tensor:
    dtype = loop.q.dtype if family.keeps is None else family.keeps
    return loop.q.new_empty(loop.q.shape, dtype=dtype)


def _precision(tokens: Tensor) -> str:
    """Precision of products of float32, as `torch.set_float32_matmul_precision` asks for it.

    Narrower dtypes have their own. A product in three parts of tf32 is as good as float32; AMD's
    compiler knows no tf32.
    """
    target = target_of(tokens.device) or "sm_80"
    if tokens.dtype != torch.float32 or target.startswith("gfx"):
        return "ieee"
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"
