"""Where in a model a loss or a gradient stopped being a number."""

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from ttt_config import TrainConfig
from ttt_data import Batch
from ttt_training.learner import Learner
from ttt_training.modes import uncompiled
from ttt_training.step import accumulate_gradients


class _Place(NamedTuple):
    """First token at which a module's output, or its gradient, is not finite."""

    module: str
    token: int | None
    """In its window; None where the tensor has no tokens."""


def locate_non_finite(learner: Learner, batch: Batch, *, step: int, settings: TrainConfig) -> str:
    """Take the forward and backward pass of a step again and watch every module.

    Args:
        learner: as before the step; its gradients are None before and after.
        batch: of the step.
        step: number of the step, from 1.
        settings: of the run.

    Returns:
        For people: the layer and the inner mini-batch where it began. The forward pass is searched
        from the first module and token on, the backward pass from the last ones back.
    """
    watch = _Watch()
    model = learner.model
    handles = [
        module.register_forward_hook(watch.hook(name)) for name, module in model.named_modules()
    ]
    try:
        with uncompiled(model):
            accumulate_gradients(learner, batch, step=step, settings=settings)
        bad = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
    finally:
        learner.optimizer.zero_grad()
        for handle in handles:
            handle.remove()
    size = model.config.inner.mini_batch_size
    if watch.forward is not None:
        return f"first in the output of {_describe(watch.forward, size)}"
    if watch.backward is not None:
        return f"first in the gradient at {_describe(watch.backward, size)}"
    return f"first in the gradient of `{bad[-1]}`" if bad else "in no single module"


class _Watch:
    """Remembers the first module whose output, and the first whose gradient, is not finite."""

    def __init__(self) -> None:
        self.forward: _Place | None = None
        self.backward: _Place | None = None

    def hook(self, name: str) -> Any:  # noqa: ANN401 - torch's hooks have no nameable type
        """A forward hook for the module of this name."""

        def check(module: nn.Module, arguments: object, output: object) -> None:
            del module, arguments
            tensor = output[0] if isinstance(output, tuple) else output
            if not isinstance(tensor, Tensor):
                return
            if self.forward is None and (tokens := _bad_tokens(tensor)) is not None:
                self.forward = _Place(name, min(tokens, default=None))
            if tensor.requires_grad:
                tensor.register_hook(partial(self.check_gradient, name))

        return check

    def check_gradient(self, name: str, gradient: Tensor) -> None:
        """Note a gradient that is not finite."""
        if self.backward is None and (tokens := _bad_tokens(gradient)) is not None:
            self.backward = _Place(name, max(tokens, default=None))


def _bad_tokens(tensor: Tensor) -> list[int] | None:
    """Tokens at which a (B, T, ...) tensor is not finite; None if it is finite throughout."""
    bad = ~tensor.isfinite()
    if not bad.any():
        return None
    return bad.flatten(2).any(-1).any(0).nonzero().flatten().tolist() if bad.dim() > 2 else []


def _describe(place: _Place, mini_batch_size: int) -> str:
    names = place.module.split(".")
    where = f"layer {names[1]} (`{place.module}`)" if names[0] == "blocks" else "the model"
    if names[0] in ("embed", "norm", "lm_head"):
        where = f"`{place.module}`"
    if place.token is None:
        return where
    return f"{where}, inner mini-batch {place.token // mini_batch_size}, token {place.token}"
