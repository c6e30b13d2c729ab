"""The learning rates as pure functions of the step."""

import math

from ttt_config import TrainConfig

_INNER_LR_START = 0.1


def learning_rate(step: int, settings: TrainConfig, *, hidden_size: int) -> float:
    """Give the learning rate of one optimizer step.

    `cosine`: linear warm-up, then a cosine.

        step <= warmup_steps:  lr * step / warmup_steps
        afterwards:            min_lr + (lr - min_lr) * (1 + cos(pi * progress)) / 2

    where `progress` runs from 0 at the end of the warm-up to 1 at the last step. It is the
    schedule of the official recipe (warm-up over a tenth of the steps, cosine down to 1e-5).

    `noam` (Vaswani et al. 2017, 5.3), of which `lr` is the factor and not the peak:

        lr * hidden_size^-0.5 * min(step^-0.5, step * warmup_steps^-1.5)

    Args:
        step: number of the optimizer step, counted from 1; 0 is the point before training.
        settings: `schedule`, `lr`, `min_lr`, `warmup_steps` and `steps` are read.
        hidden_size: width of the model.
    """
    if settings.schedule == "noam":
        return _noam(step, settings.lr, max(1, settings.warmup_steps), hidden_size)
    peak, minimum, warmup = settings.lr, settings.min_lr, settings.warmup_steps
    if step < warmup:
        return peak * step / warmup
    if step >= settings.steps:
        return minimum if settings.steps > warmup else peak
    progress = (step - warmup) / (settings.steps - warmup)
    return minimum + (peak - minimum) * (1 + math.cos(math.pi * progress)) / 2


def inner_lr_factor(step: int, settings: TrainConfig) -> float:
    """Give the factor of the inner learning rates in one optimizer step.

        0.1 + 0.9 * min(1, (step - 1) / inner_lr_warmup_steps)

    It is the warm-up of the official recipe for TTT-MLP, whose inner learning rate rises from 0.01
    to 0.1 while the outer one warms up: gradients through large inner steps of an untrained model
    are wild. Evaluations and checkpoints know nothing of it.

    Args:
        step: number of the optimizer step, counted from 1.
        settings: `inner_lr_warmup_steps` is read; 0 gives 1.
    """
    warmup = settings.inner_lr_warmup_steps
    if warmup == 0 or step > warmup:
        return 1.0
    return _INNER_LR_START + (1.0 - _INNER_LR_START) * (step - 1) / warmup


def _noam(step: int, factor: float, warmup: int, hidden_size: int) -> float:
    if step == 0:
        return 0.0
    return factor * hidden_size**-0.5 * min(step**-0.5, step * warmup**-1.5)
