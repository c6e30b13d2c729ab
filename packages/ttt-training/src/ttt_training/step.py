"""One optimizer step: gradients over micro-batches, a check, the clip, the update."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ttt_config import TrainConfig
from ttt_data import Batch
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_layer import TTTModel
from ttt_training.device import autocast, device_of
from ttt_training.loss import cross_entropy
from ttt_training.schedule import learning_rate


class Step(NamedTuple):
    """What one optimizer step came to; tensors, since reading them would wait for the device."""

    loss: Tensor
    """Mean over the tokens of the step, nats."""
    grad_norm: Tensor
    """Global norm of the gradient before clipping."""
    lr: float


class NotFiniteError(Exception):
    """The loss or the gradient of a step is not a number; the parameters are as before it."""

    def __init__(self, loss: float, grad_norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {grad_norm}")


def take_step(
    model: TTTModel, optimizer: Optimizer, batch: Batch, *, step: int, settings: TrainConfig
) -> Step:
    """Learn from the rows of one step.

    The gradient is that of the mean over all tokens of the step, into however many micro-batches
    it is cut.

    Args:
        model: in training mode.
        optimizer: of its parameters, their gradients None.
        batch: `batch_size * grad_accum_steps` rows.
        step: number of the step, from 1.
        settings: of the run.

    Raises:
        NotFiniteError: the loss or the gradient is not finite.
    """
    micro_batches = batch.split(settings.grad_accum_steps)
    num_targets = [int((each.targets != IGNORED_TARGET).sum()) for each in micro_batches]
    total = max(1, sum(num_targets))
    loss = torch.zeros((), device=device_of(model))
    for micro_batch, count in zip(micro_batches, num_targets, strict=True):
        if count:  # a mean over nothing is not a number
            share = mean_loss(model, micro_batch, settings) * (count / total)
            share.backward()
            loss += share.detach()
    grad_norm = clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    # The one wait for the device: a bad gradient must not reach the parameters.
    if not (loss + grad_norm).isfinite():
        raise NotFiniteError(loss.item(), grad_norm.item())
    lr = learning_rate(step, settings, hidden_size=model.config.hidden_size)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    return Step(loss, grad_norm, lr)


def mean_loss(model: TTTModel, batch: Batch, settings: TrainConfig) -> Tensor:
    """Return the mean loss over the tokens of some rows, nats."""
    device = device_of(model)
    with autocast(device, settings.dtype):
        logits = model(_to(device, batch.inputs))
    return cross_entropy(logits, _to(device, batch.targets))


def _to(device: torch.device, tokens: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(tokens).to(device)
