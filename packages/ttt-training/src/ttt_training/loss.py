"""The training objective, next-token cross-entropy, without ever holding all scores.

The scores of B T tokens over a vocabulary of V are by far the largest tensor of a training step,
and a plain loss holds them three times: scores, log-probabilities, gradient. Here a chunk of tokens
at a time goes from the last hidden states to its losses and on to its gradients.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ttt_data.loading.batch import IGNORED_TARGET

_CHUNK_SCORES = {"cpu": 1 << 21}
"""Scores computed at a time, by the type of the device: few enough for a CPU's cache."""
_MORE_CHUNK_SCORES = 1 << 26
"""On any other device, where each chunk is a dozen launches: 256 MiB in float32."""
_CHUNK_ROWS = 256
"""But at least for so many tokens: each chunk adds to the gradient of the whole head."""


class _Chunk(NamedTuple):
    """What a chunk of n tokens comes to."""

    rows: slice
    hidden: Tensor
    """(n, C) in the dtype of the matrix products."""
    targets: Tensor
    """(n, 1), 0 where there is none."""
    counted: Tensor
    """(n, 1), whether there is one."""
    log_probabilities: Tensor
    """(n, V), float32 or wider; overwritten by those of the next chunk."""

    def losses(self) -> Tensor:
        """Loss of each token, (n,), 0 where there is no target."""
        picked = self.log_probabilities.gather(1, self.targets)
        return torch.where(self.counted, -picked, 0).squeeze(1)


def cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Average the next-token loss over the tokens of a batch, in nats.

    It is a mean over tokens, not a mean of per-sequence means, so that no token counts more
    for standing in a short sequence. Under autocast the matrix products are computed in its dtype,
    all else in float32. The gradient is computed with the loss and can be taken once.

    Args:
        hidden: last hidden states, (B, T, C) (`TTTModel.hidden`), any float dtype.
        head: from hidden states to scores, (V, C) (`TTTModel.head`), in the dtype of `hidden`.
        targets: the token that follows each position, (B, T), int64; -100 leaves it out.

    Returns:
        The mean, a float32 (float64 for float64 hidden states) scalar; NaN if every target is left
        out.
    """
    return _CrossEntropy.apply(hidden.flatten(0, -2), head, targets.flatten())


@torch.no_grad()
def token_losses(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each token in nats, (B, T), 0 where there is none; not differentiable.

    Arguments as `cross_entropy`.
    """
    chunks = _chunks(hidden.flatten(0, -2), head, targets.flatten())
    return torch.cat([chunk.losses() for chunk in chunks]).view(targets.shape)


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """Return how many tokens are scored at a time."""
    scores = _CHUNK_SCORES.get(device.type, _MORE_CHUNK_SCORES)
    return max(_CHUNK_ROWS, scores // vocab_size)


class _CrossEntropy(torch.autograd.Function):
    """Hidden states (N, C), head (V, C) and targets (N,) to the mean loss."""

    @staticmethod
    # pyrefly: ignore[bad-override] - torch declares *args
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:  # noqa: ANN401
        """Compute the loss and, if they are needed, the gradients of its sum over tokens."""
        count = (targets != IGNORED_TARGET).sum()
        if any(ctx.needs_input_grad):
            loss, d_hidden, d_head = _sum_with_gradients(hidden, head, targets)
            ctx.save_for_backward(d_hidden, d_head, count)
        else:
            loss = torch.stack([each.losses().sum() for each in _chunks(hidden, head, targets)])
        return loss.sum() / count

    @staticmethod
    @once_differentiable
    # pyrefly: ignore[bad-override] - torch declares *args
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Scale the gradients in place, for they are large; torch refuses to do so again."""
        d_hidden, d_head, count = ctx.saved_tensors
        factor = upstream / count
        return d_hidden.mul_(factor), d_head.mul_(factor), None


def _chunks(hidden: Tensor, head: Tensor, targets: Tensor) -> Iterator[_Chunk]:
    """Score the tokens (N, C) chunk by chunk in memory that is used again."""
    dtype, device = _product_dtype(hidden), hidden.device
    wide = torch.promote_types(hidden.dtype, torch.float32)
    size = min(chunk_rows(len(head), device), len(hidden))
    scores = torch.empty(size, len(head), dtype=dtype, device=device)
    log_probabilities = torch.empty(size, len(head), dtype=wide, device=device)
    to_scores = head.to(dtype).t()
    counted = (targets != IGNORED_TARGET).unsqueeze(1)
    targets = torch.where(counted, targets.unsqueeze(1), 0)
    for start in range(0, len(hidden), size):
        rows = slice(start, min(start + size, len(hidden)))
        some, own = hidden[rows].to(dtype), slice(0, rows.stop - start)
        with torch.autocast(device.type, enabled=False):
            torch.mm(some, to_scores, out=scores[own])
            torch.log_softmax(scores[own], -1, dtype=wide, out=log_probabilities[own])
        yield _Chunk(rows, some, targets[rows], counted[rows], log_probabilities[own])


def _sum_with_gradients(
    hidden: Tensor, head: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the losses and its gradients with respect to hidden states and head.

    Each score's gradient, probability minus one at the target, is of order one whatever the number
    of tokens, so float16 holds it without a loss scale.
    """
    product_head = head.to(_product_dtype(hidden))
    d_hidden = torch.empty_like(hidden)
    d_head = torch.zeros_like(head, dtype=torch.promote_types(head.dtype, torch.float32))
    losses: list[Tensor] = []
    for chunk in _chunks(hidden, product_head, targets):
        losses.append(chunk.losses().sum())
        d_scores = chunk.log_probabilities.exp_()
        d_scores.scatter_add_(1, chunk.targets, d_scores.new_full(chunk.targets.shape, -1))
        d_scores = d_scores.to(product_head.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            d_hidden[chunk.rows] = (d_scores @ product_head).mul_(chunk.counted)
            counted = chunk.hidden * chunk.counted
            if d_head.dtype == product_head.dtype:
                d_head.addmm_(d_scores.t(), counted)
            else:
                d_head += d_scores.t() @ counted
    return torch.stack(losses), d_hidden, d_head.to(head.dtype)


def _product_dtype(hidden: Tensor) -> torch.dtype:
    """Return what matrix products are computed in here; autocast leaves float64 alone."""
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return hidden.dtype
