"""What the inner loop learned, mini-batch by mini-batch. Computed on request, never in training."""

from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.reference.mini_batch import forward_layers, inner_gradients
from ttt_kernels.reference.normalization import layer_norm
from ttt_kernels.reference.scan import MiniBatch, split_mini_batches
from ttt_kernels.reference.update import InnerParameters, Update


class InnerTrace(NamedTuple):
    """Per complete mini-batch and head, each (B, N, H).

    Attributes:
        loss_initial: inner loss of the mini-batch under the model's initial parameters.
        loss_before: under the parameters the mini-batch starts from.
        loss_after: under the parameters it ends with.
        update_norm: norm of the change of all inner parameters over the mini-batch.
        drift: norm of the difference to the initial parameters after the mini-batch.
    """

    loss_initial: Tensor
    loss_before: Tensor
    loss_after: Tensor
    update_norm: Tensor
    drift: Tensor


@torch.no_grad()
def trace_scan(
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    parameters: InnerParameters,
    initial: InnerParameters,
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    update: Update,
    mini_batch_size: int,
    eps: float,
) -> InnerTrace:
    """Replay `scan` and measure the inner loss 0.5 ||LN(f(k)) - (v - k)||^2 (mean over tokens).

    Args:
        k: keys, (B, T, H, D).
        v: values, like `k`.
        token_eta: (M,).
        lr: (B, T, H).
        parameters: the scan starts from these.
        initial: the model's own initial parameters, W0.
        ln_w: (H, D).
        ln_b: (H, D).
        update: as in `scan`.
        mini_batch_size: M.
        eps: of the inner layer norm.
    """
    dtype = parameters.weights[0].dtype
    ln_w, ln_b = (x.to(dtype).unsqueeze(-2) for x in (ln_w, ln_b))
    k, v, token_eta, lr = (x.to(dtype) for x in (k, v, token_eta, lr))
    with torch.autocast(k.device.type, enabled=False):
        batches, _ = split_mini_batches(k, k, v, token_eta, lr, mini_batch_size)
        rows: list[list[Tensor]] = []
        for batch in batches:
            gradients = inner_gradients(
                batch.keys,
                batch.targets,
                parameters.weights,
                parameters.biases,
                ln_w,
                ln_b,
                eps,
            )
            learned = update(parameters, gradients, batch.last_eta)
            losses = [
                _inner_loss(batch, p, ln_w, ln_b, eps) for p in (initial, parameters, learned)
            ]
            rows.append([*losses, _distance(learned, parameters), _distance(learned, initial)])
            parameters = learned
    if not rows:
        empty = k.new_zeros(k.shape[0], 0, k.shape[2])
        return InnerTrace(empty, empty, empty, empty, empty)
    return InnerTrace(*(torch.stack(column, dim=1) for column in zip(*rows, strict=True)))


def _inner_loss(
    batch: MiniBatch, parameters: InnerParameters, ln_w: Tensor, ln_b: Tensor, eps: float
) -> Tensor:
    """Mean inner loss of the mini-batch, (B, H)."""
    _, outputs = forward_layers(batch.keys, parameters.weights, parameters.biases)
    error = layer_norm(outputs[-1], ln_w, ln_b, eps) - batch.targets
    return 0.5 * error.square().sum(-1).mean(-1)


def _distance(a: InnerParameters, b: InnerParameters) -> Tensor:
    """Euclidean distance over all weights and biases, (B, H)."""
    pairs = zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True)
    return torch.stack([(x - y).flatten(2).square().sum(-1) for x, y in pairs]).sum(0).sqrt()
