"""How long a run is: a number of steps, of tokens, or of passes over the text."""

import math
from typing import TYPE_CHECKING

import msgspec

from ttt_config import IncompatibleError, RunConfig

if TYPE_CHECKING:
    from ttt_data import Loader


def tokens_per_step(config: RunConfig) -> int:
    """Return the tokens read for one optimizer step."""
    settings = config.train
    return settings.batch_size * settings.grad_accum_steps * config.model.max_seq_len


def fit_length(config: RunConfig, train: "Loader") -> RunConfig:
    """Put the length of a run into steps, where it was given as tokens or epochs.

    Args:
        config: with at most one of `train.tokens` and `train.epochs`, which win over `train.steps`.
        train: the training windows.

    Raises:
        IncompatibleError: both are given, or `train.samples` without `train.epochs`.
    """
    settings = config.train
    if settings.epochs is not None and settings.tokens is not None:
        raise IncompatibleError(
            "`train.tokens` and `train.epochs` both give the length of the run; give one of them"
        )
    if settings.samples is not None and settings.epochs is None:
        raise IncompatibleError(
            "`train.samples` is how many windows an epoch counts; give `train.epochs`, too"
        )
    if settings.epochs is not None:
        windows = settings.samples or train.num_windows
        steps = math.ceil(settings.epochs * windows / train.global_batch_size)
    elif settings.tokens is not None:
        steps = math.ceil(settings.tokens / tokens_per_step(config))
    else:
        return config
    settings = msgspec.structs.replace(
        settings, steps=max(1, steps), epochs=None, samples=None, tokens=None
    )
    return msgspec.structs.replace(config, train=settings)
