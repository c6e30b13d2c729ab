"""The inner loop over a whole sequence: mini-batch after mini-batch, the state carried along."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ttt_kernels.reference.mini_batch import InnerGradients, answer_queries, inner_gradients
from ttt_kernels.reference.normalization import layer_norm
from ttt_kernels.reference.update import InnerParameters, Update


class MiniBatch(NamedTuple):
    """The tokens of one mini-batch of n <= M tokens, heads outside tokens.

    Attributes:
        queries: (B, H, n, D).
        keys: (B, H, n, D).
        targets: v - k, (B, H, n, D).
        eta: token_eta_i * lr_j on and below the diagonal, (B, H, n, n).
    """

    queries: Tensor
    keys: Tensor
    targets: Tensor
    eta: Tensor

    @property
    def last_eta(self) -> Tensor:
        """Last row of eta as a column, (B, H, n, 1)."""
        return self.eta[..., -1, :, None]


def split_mini_batches(
    q: Tensor, k: Tensor, v: Tensor, token_eta: Tensor, lr: Tensor, mini_batch_size: int
) -> tuple[list[MiniBatch], MiniBatch | None]:
    """Cut (B, T, H, ...) tensors into complete mini-batches and the remainder, if any."""
    tokens = q.shape[1]
    complete = tokens // mini_batch_size * mini_batch_size

    def cut(start: int, stop: int, size: int) -> list[MiniBatch]:
        def heads_out(x: Tensor) -> Tensor:
            """(B, n * size, H, ...) to (n, B, H, size, ...)."""
            return x[:, start:stop].unflatten(1, (-1, size)).movedim(1, 0).transpose(2, 3)

        keys = heads_out(k)
        eta = (token_eta[:size, None] * heads_out(lr)[..., None, :]).tril()
        parts = (heads_out(q), keys, heads_out(v) - keys, eta)
        # unbind, not indexing: the backward of n selections would each fill a full-size tensor
        return [MiniBatch(*part) for part in zip(*(p.unbind(0) for p in parts), strict=True)]

    batches = cut(0, complete, mini_batch_size) if complete else []
    remainder = cut(complete, tokens, tokens - complete)[0] if complete < tokens else None
    return batches, remainder


def scan(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    parameters: InnerParameters,
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    update: Update,
    mini_batch_size: int,
    eps: float,
    checkpoint_interval: int | None = None,
) -> tuple[Tensor, InnerParameters]:
    """Read T tokens from a mini-batch boundary, learning from each complete mini-batch.

    Computes in the dtype of the parameters (float32, or float64 to be exact), whatever the dtype of
    the tokens and outside any autocast region.

    Args:
        q: queries, (B, T, H, D), any float dtype and strides.
        k: keys, like `q`.
        v: values, like `q`; the inner target is v - k.
        token_eta: step size by position in the mini-batch, (M,).
        lr: learned step size of each token, (B, T, H).
        parameters: at the boundary, shared by the batch or one per sequence.
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: bias of the inner layer norm, (H, D).
        update: how parameters are carried over a boundary.
        mini_batch_size: M.
        eps: of the inner layer norm.
        checkpoint_interval: recompute in groups of this many mini-batches in the backward pass
            instead of keeping every intermediate; None keeps everything.

    Returns:
        Output (B, T, H, D) in the dtype of `q`, and the parameters after the last complete
        mini-batch. A remainder of T mod M tokens is answered but not learned from.
    """
    dtype = parameters.weights[0].dtype

    def respond(state: InnerParameters, batch: MiniBatch) -> tuple[InnerGradients, Tensor]:
        gradients = inner_gradients(
            batch.keys, batch.targets, state.weights, state.biases, ln_w, ln_b, eps
        )
        answer = answer_queries(batch.queries, gradients, batch.eta, state.weights, state.biases)
        return gradients, answer

    def run(
        state: InnerParameters, group: Sequence[MiniBatch]
    ) -> tuple[InnerParameters, list[Tensor]]:
        answers = []
        for batch in group:
            gradients, answer = respond(state, batch)
            state = update(state, gradients, batch.last_eta)
            answers.append(answer)
        return state, answers

    with torch.autocast(q.device.type, enabled=False):
        ln_w, ln_b = (x.to(dtype).unsqueeze(-2) for x in (ln_w, ln_b))
        batches, remainder = split_mini_batches(
            q.to(dtype),
            k.to(dtype),
            v.to(dtype),
            token_eta.to(dtype),
            lr.to(dtype),
            mini_batch_size,
        )
        answers: list[Tensor] = []
        interval = checkpoint_interval or max(len(batches), 1)
        for start in range(0, len(batches), interval):
            group = batches[start : start + interval]
            if checkpoint_interval is not None and torch.is_grad_enabled():
                parameters, part = checkpoint(
                    run, parameters, group, use_reentrant=False, preserve_rng_state=False
                )
            else:
                parameters, part = run(parameters, group)
            answers += part
        if remainder is not None:
            answers.append(respond(parameters, remainder)[1])
        # one layer norm over the whole sequence instead of one per mini-batch
        normed = layer_norm(torch.cat(answers, dim=2), ln_w, ln_b, eps)
        output = q.to(dtype) + normed.transpose(1, 2)
    return output.to(q.dtype), parameters
