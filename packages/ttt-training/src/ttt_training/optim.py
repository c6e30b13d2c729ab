"""The outer optimizer."""

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW

from ttt_config import TrainConfig


def build_optimizer(parameters: Iterable[nn.Parameter], settings: TrainConfig) -> AdamW:
    """Build AdamW with weight decay on ALL parameters.

    The official recipe excludes nothing: norms, biases, embeddings, the initial inner weights
    and the learnable token positions are decayed like the projections. We keep to it, so that
    learning rates and decay carry over from the paper's runs.
    """
    return AdamW(
        parameters,
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
    )
