"""Watching inner models learn: traces recorded while a model runs, at no cost otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ttt_core.inner import InnerModel
from ttt_kernels.reference import InnerTrace


@contextmanager
def record_inner_traces(model: nn.Module) -> Iterator[dict[int, InnerTrace]]:
    """Collect an `InnerTrace` of every inner model in `model` at each forward call.

    Returns:
        A dictionary from layer index, counted in the order of `model.modules()`, to the trace of
        that layer's latest call; it fills as the model runs.
    """
    traces: dict[int, InnerTrace] = {}
    layer_of = {
        inner: layer
        for layer, inner in enumerate(m for m in model.modules() if isinstance(m, InnerModel))
    }

    def measure(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, InnerModel):
            _queries, *rest = arguments
            traces[layer_of[module]] = module.trace(*rest)

    handles = [inner.register_forward_pre_hook(measure) for inner in layer_of]
    try:
        yield traces
    finally:
        for handle in handles:
            handle.remove()
