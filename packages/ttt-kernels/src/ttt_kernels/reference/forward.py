"""The inner loop over a whole sequence without autograd, storing what `backward` starts from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.kernel import ForwardResult, InnerLoop
from ttt_kernels.reference.batched import LayerNorm, answer, read_keys, step
from ttt_kernels.reference.layout import Segment, by_mini_batch, fold_rows, segments
from ttt_kernels.reference.normalization import layer_norm
from ttt_kernels.reference.update import AdamMoments, InnerParameters


class Saved(NamedTuple):
    """What the backward pass needs besides the arguments, G boundaries of mini-batches apart.

    Attributes:
        answers: of the complete mini-batches, before the output's layer norm, (N, S, M, D).
        open_answers: of the remainder, (N', S, T mod M, D), N' being 0 or 1.
        boundaries: per tensor of the state (weights, biases and, where Adam's steps are to be
            replayed, moments) its values where each group of `checkpoint_interval` mini-batches
            starts and, if there is a remainder, where that starts, (G, S, ...).
    """

    answers: Tensor
    open_answers: Tensor
    boundaries: list[Tensor]

    @classmethod
    def empty(cls, loop: InnerLoop) -> "Saved":
        """Allocate for the shapes of `loop`."""
        batch, tokens, heads, dim = loop.q.shape
        rows, size = batch * heads, loop.mini_batch_size
        count, rest = tokens // size, tokens % size
        boundaries = -(-count // interval_of(loop)) + (rest > 0)
        parameters = loop.parameters
        shapes = [w.shape[-2:] for w in parameters.weights] + [
            b.shape[-1:] for b in parameters.biases
        ]
        if loop.adam is not None and interval_of(loop) > 1:
            shapes = shapes * 3
        new = loop.lr.new_empty
        return cls(
            new(count, rows, size, dim),
            new(min(rest, 1), rows, rest, dim),
            [new(boundaries, rows, *shape) for shape in shapes],
        )

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "Saved":
        """Undo `flat`."""
        return cls(tensors[0], tensors[1], list(tensors[2:]))

    def flat(self) -> list[Tensor]:
        """Return all tensors in a list."""
        return [self.answers, self.open_answers, *self.boundaries]

    def store(self, index: int, state: InnerParameters) -> None:
        """Store the state at a boundary."""
        for boundary, tensor in zip(self.boundaries, state_tensors(state), strict=False):
            boundary[index].copy_(tensor)

    def load(self, index: int, loop: InnerLoop, mini_batches: int) -> InnerParameters:
        """Return the state at a boundary, as views of what was stored.

        Args:
            index: of the boundary.
            loop: the arguments of the forward pass.
            mini_batches: read before that boundary.
        """
        tensors = [boundary[index] for boundary in self.boundaries]
        layers = len(loop.parameters.weights)
        weights, biases, moments = tensors[:layers], tensors[layers : 2 * layers], None
        started = loop.parameters.moments
        if started is not None and len(tensors) > 2 * layers:
            first, second = tensors[2 * layers : 4 * layers], tensors[4 * layers :]
            moments = AdamMoments(tuple(first), tuple(second), started.step + mini_batches)
        return InnerParameters(tuple(weights), tuple(biases), moments)


def interval_of(loop: InnerLoop) -> int:
    """Mini-batches between stored states; by default as many as run fastest on a CPU.

    More of them cost writes to fresh memory, fewer cost replayed mini-batches that leave the cache.
    """
    return loop.checkpoint_interval or 4


def state_tensors(state: InnerParameters) -> list[Tensor]:
    """Return weights, biases and, with Adam, first and second moments in a list."""
    moments = state.moments
    return [*state.weights, *state.biases, *((*moments.first, *moments.second) if moments else ())]


def copy_state(state: InnerParameters) -> InnerParameters:
    """Copy weights and biases, which plain descent overwrites."""
    weights, biases = (tuple(x.clone() for x in half) for half in (state.weights, state.biases))
    return state._replace(weights=weights, biases=biases)


def initial_state(loop: InnerLoop) -> InnerParameters:
    """Copy the state the loop starts from, one row per sequence and head."""
    batch, parameters, moments = len(loop.q), loop.parameters, loop.parameters.moments
    if moments is not None:
        first, second = (
            tuple(fold_rows(m, batch, 2) for m in half) for half in (moments.first, moments.second)
        )
        moments = AdamMoments(first, second, moments.step)
    return InnerParameters(
        tuple(fold_rows(w, batch, w.dim() - 2) for w in parameters.weights),
        tuple(fold_rows(b, batch, b.dim() - 1) for b in parameters.biases),
        moments,
    )


def norm_of(loop: InnerLoop) -> LayerNorm:
    """Return the inner layer norm, one row per sequence and head."""
    batch = len(loop.q)
    weight, bias = (fold_rows(x.unsqueeze(1), batch, 1) for x in (loop.ln_w, loop.ln_b))
    return LayerNorm(weight, bias, loop.eps)


def unfold_state(state: InnerParameters, batch: int) -> InnerParameters:
    """View a state of S = B H rows as (B, H, ...)."""

    def unfold(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x.unflatten(0, (batch, x.shape[0] // batch)) for x in tensors)

    moments = state.moments
    if moments is not None:
        moments = AdamMoments(unfold(moments.first), unfold(moments.second), moments.step)
    return InnerParameters(unfold(state.weights), unfold(state.biases), moments)


@torch.no_grad()
def forward(loop: InnerLoop, *, save: bool) -> ForwardResult:
    """Read the tokens; see `ttt_kernels.kernel.Kernel.forward`."""
    saved = Saved.empty(loop) if save else None
    norm, state, interval = norm_of(loop), initial_state(loop), interval_of(loop)
    output = torch.empty(loop.q.shape, dtype=loop.q.dtype, device=loop.q.device)
    for segment in segments(loop):
        if saved is None:
            answers = torch.empty_like(segment.queries)
        else:
            answers = saved.answers if segment.learned else saved.open_answers
        for index in range(segment.count):
            if saved is not None and not segment.learned:
                saved.store(-1, state)
            elif saved is not None and index % interval == 0:
                saved.store(index // interval, state)
            state = _read(segment, index, state, loop, norm, answers[index])
        _write_output(segment, answers, norm, output)
    return ForwardResult(
        output, unfold_state(state, len(loop.q)), [] if saved is None else saved.flat()
    )


def _read(
    segment: Segment,
    index: int,
    state: InnerParameters,
    loop: InnerLoop,
    norm: LayerNorm,
    out: Tensor,
) -> InnerParameters:
    """Answer one mini-batch into `out` and, unless it is a remainder, learn from it."""
    keys = read_keys(segment.keys[index], segment.targets[index], state, norm, curvature=False)
    answer(segment.queries[index], keys, segment.eta(index), state, out)
    if segment.learned:
        return step(state, keys, segment.last_eta(index), loop.adam)
    return state


def _write_output(segment: Segment, answers: Tensor, norm: LayerNorm, output: Tensor) -> None:
    """Write q + LN(answer); one layer norm for all mini-batches instead of one for each."""
    normed = layer_norm(answers, norm.weight, norm.bias, norm.eps).add_(segment.queries)
    count, _, size, _ = answers.shape
    view = by_mini_batch(output[:, segment.start : segment.stop], size)
    view.copy_(normed.view(count, *view.shape[1:]))
