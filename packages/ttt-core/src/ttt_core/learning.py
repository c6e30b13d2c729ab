"""Making inner models learn more or less than they were trained to."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ttt_core.eta import InnerLearningRate


@contextmanager
def scaled_inner_lr(model: nn.Module, factor: float) -> Iterator[None]:
    """Multiply every inner learning rate by a factor inside the block.

    With 0 the fast weights stay what they are, so that the same parameters can be measured without
    learning at test time.
    """
    rates = [module for module in model.modules() if isinstance(module, InnerLearningRate)]
    before = [rate.scale for rate in rates]
    try:
        for rate in rates:
            rate.scale = rate.scale * factor
        yield
    finally:
        for rate, kept in zip(rates, before, strict=True):
            rate.scale = kept
