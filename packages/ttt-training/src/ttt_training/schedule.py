"""The learning rate as a pure function of the step."""

import math

from ttt_config import TrainConfig


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


def _noam(step: int, factor: float, warmup: int, hidden_size: int) -> float:
    if step == 0:
        return 0.0
    return factor * hidden_size**-0.5 * min(step**-0.5, step * warmup**-1.5)
