"""Ways to run a model for the length of a block."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside the block and back in the mode it was in after it."""
    if not model.training:
        yield  # to set the mode of every module takes a good part of a token's time
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run what was compiled as it was written inside the block, so that hooks are called."""
    if all(module._compiled_call_impl is None for module in model.modules()):
        yield  # importing the compiler takes seconds
        return
    with torch.compiler.set_stance("force_eager"):
        yield
