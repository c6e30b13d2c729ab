"""One optimizer step: gradients over micro-batches, a check, the clip, the update."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ttt_config import TrainConfig
from ttt_data import Batch
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_layer import TTTModel, scaled_inner_lr
from ttt_training.device import autocast, device_of
from ttt_training.learner import Learner, explained_compilation
from ttt_training.loss import cross_entropy
from ttt_training.schedule import inner_lr_factor, learning_rate


class Step(NamedTuple):
    """What one optimizer step came to; tensors, since reading them would wait for the device."""

    loss: Tensor
    """Mean over the tokens of the step, nats."""
    grad_norm: Tensor
    """Global norm of the gradient before clipping."""
    lr: float
    overflowed: bool = False
    """A scaled gradient left the range of float16, so that the step was left out."""


class NotFiniteError(Exception):
    """The loss or the gradient of a step is not a number; the parameters are as before it."""

    def __init__(self, loss: float, grad_norm: float) -> None:
        super().__init__(f"loss {loss}, gradient norm {grad_norm}")


def take_step(learner: Learner, batch: Batch, *, step: int, settings: TrainConfig) -> Step:
    """Learn from the rows of one step.

    The gradient is that of the mean over all tokens of the step, into however many micro-batches
    it is cut. In float16 a gradient that overflows only lowers the scale of the loss.

    Args:
        learner: what learns; its gradients are None before and after, also after an error.
        batch: `batch_size * grad_accum_steps` rows.
        step: number of the step, from 1.
        settings: of the run.

    Raises:
        NotFiniteError: the loss or the gradient is not finite.
    """
    model, optimizer, scaler = learner.model, learner.optimizer, learner.scaler
    loss = accumulate_gradients(learner, batch, step=step, settings=settings)
    scaler.unscale_(optimizer)
    grad_norm = clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    lr = learning_rate(step, settings, hidden_size=model.config.hidden_size)
    for group in optimizer.param_groups:
        group["lr"] = lr
    # The one wait for the device: a bad gradient must not reach the parameters.
    overflowed = False
    if not (loss + grad_norm).isfinite():
        overflowed = bool(loss.isfinite()) and scaler.get_scale() > 1.0
        if not overflowed:
            optimizer.zero_grad()
            scaler.update()
            raise NotFiniteError(loss.item(), grad_norm.item())
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return Step(loss, grad_norm, lr, overflowed)


def accumulate_gradients(
    learner: Learner, batch: Batch, *, step: int, settings: TrainConfig
) -> Tensor:
    """Add up the gradients of a step, scaled by the loss scale; return its mean loss, nats.

    Arguments as `take_step`.
    """
    micro_batches = batch.split(settings.grad_accum_steps)
    num_targets = [int((each.targets != IGNORED_TARGET).sum()) for each in micro_batches]
    total = max(1, sum(num_targets))
    loss = torch.zeros((), device=device_of(learner.model))
    with scaled_inner_lr(learner.model, inner_lr_factor(step, settings)):
        for micro_batch, count in zip(micro_batches, num_targets, strict=True):
            if count:  # a mean over nothing is not a number
                share = mean_loss(learner.model, micro_batch, settings) * (count / total)
                learner.scaler.scale(share).backward()
                loss += share.detach()
    return loss


def mean_loss(model: TTTModel, batch: Batch, settings: TrainConfig) -> Tensor:
    """Return the mean loss over the tokens of some rows, nats.

    Raises:
        IncompatibleError: the model cannot be compiled here.
    """
    device = device_of(model)
    with autocast(device, settings.dtype), explained_compilation(enabled=settings.compile):
        hidden, _ = model.hidden(_to(device, batch.inputs))
        return cross_entropy(hidden, model.head, _to(device, batch.targets))


def _to(device: torch.device, tokens: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(tokens).to(device)
