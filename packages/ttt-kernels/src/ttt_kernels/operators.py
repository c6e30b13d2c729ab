"""The inner loop as torch operators: `ttt::linear`, `ttt::linear_adam`, `ttt::mlp`.

Each family is a forward and a backward operator of one signature, so that `torch.compile`,
activation checkpointing, profilers and DDP see one node whose insides they leave alone. What the
backward pass needs is an output of the forward operator, hence planned and freed like any other
tensor. The arguments are checked in `ops`; here they go to the kernel that is named.

Autocast does not reach inside: the operators take tokens of any dtype, compute in the dtype of the
state and return outputs in the dtype of q.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ttt_kernels import dispatch
from ttt_kernels.errors import KernelError
from ttt_kernels.kernel import InnerLoop, Upstream
from ttt_kernels.reference.update import AdamMoments, AdamUpdate, InnerParameters

FAMILIES = ("linear", "linear_adam", "mlp")

_ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor token_eta, Tensor lr, Tensor[] weights, Tensor[] biases, "
    "Tensor ln_w, Tensor ln_b, Tensor[] moments, int step, float[] adam, int mini_batch_size, "
    "float eps, int? checkpoint_interval, str kernel"
)
_GRADIENTS = "Tensor, Tensor, Tensor, Tensor, Tensor, Tensor[], Tensor[], Tensor, Tensor"


class OperatorArguments(NamedTuple):
    """Arguments of every operator, as in `_ARGUMENTS`; see `InnerLoop` for shapes.

    Attributes:
        q: queries.
        k: keys.
        v: values.
        token_eta: step size by position.
        lr: learned step size by token.
        weights: one per layer.
        biases: one per layer.
        ln_w: weight of the inner layer norm.
        ln_b: bias of the inner layer norm.
        moments: of Adam, first and then second, weights before biases; empty without Adam.
        step: updates Adam has made; 0 without.
        adam: its lr, beta1 and beta2; empty without.
        mini_batch_size: M.
        eps: of the inner layer norm.
        checkpoint_interval: mini-batches between stored states.
        kernel: key of `dispatch.INSTALLED`.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    token_eta: Tensor
    lr: Tensor
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    ln_w: Tensor
    ln_b: Tensor
    moments: Sequence[Tensor]
    step: int
    adam: Sequence[float]
    mini_batch_size: int
    eps: float
    checkpoint_interval: int | None
    kernel: str

    def loop(self) -> InnerLoop:
        """Return the arguments as kernels take them."""
        moments = None
        if self.adam:
            half = len(self.moments) // 2
            first, second = tuple(self.moments[:half]), tuple(self.moments[half:])
            moments = AdamMoments(first, second, self.step)
        return InnerLoop(
            *(self.q, self.k, self.v, self.token_eta, self.lr),
            InnerParameters(tuple(self.weights), tuple(self.biases), moments),
            *(self.ln_w, self.ln_b, self.mini_batch_size, self.eps, self.checkpoint_interval),
            AdamUpdate(*self.adam) if self.adam else None,
        )


class OperatorResult(NamedTuple):
    """What a forward operator returns.

    Attributes:
        output: (B, T, H, D) in the dtype of q.
        weights: final, (B, H, in, out) each.
        biases: final, (B, H, out) each.
        moments: final, in the order of the arguments.
        saved: for the backward operator; empty unless asked for.
    """

    output: Tensor
    weights: list[Tensor]
    biases: list[Tensor]
    moments: list[Tensor]
    saved: list[Tensor]


def run(family: str, arguments: OperatorArguments, *, save: bool) -> OperatorResult:
    """Call the forward operator of a family of `FAMILIES`.

    Args:
        family: which operator; the arguments alone decide what is computed.
        arguments: checked, all but the tokens in the dtype of the state.
        save: keep what the backward pass needs.
    """
    return OperatorResult(*getattr(torch.ops.ttt, family)(*arguments, save))


def _forward(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401 - the schema types them
    """Forward operator: `_ARGUMENTS` and `save`."""
    arguments, save = OperatorArguments(*args[:-1]), args[-1]
    with torch.no_grad(), torch.autocast(arguments.q.device.type, enabled=False):
        result = dispatch.INSTALLED[arguments.kernel].forward(arguments.loop(), save=save)
    end = result.parameters
    moments = () if end.moments is None else (*end.moments.first, *end.moments.second)
    return (result.output, list(end.weights), list(end.biases), list(moments), result.saved)


def _fake_forward(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401
    arguments, save = OperatorArguments(*args[:-1]), args[-1]
    q = arguments.q
    lead = (q.shape[0], q.shape[2])
    return (
        q.new_empty(q.shape),
        [w.new_empty(*lead, *w.shape[-2:]) for w in arguments.weights],
        [b.new_empty(*lead, b.shape[-1]) for b in arguments.biases],
        [m.new_empty(m.shape) for m in arguments.moments],
        dispatch.INSTALLED[arguments.kernel].saved_like(arguments.loop()) if save else [],
    )


def _backward(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Backward operator: gradients of output, weights and biases, what was saved, `_ARGUMENTS`."""
    d_output, d_weights, d_biases, saved = args[:4]
    arguments = OperatorArguments(*args[4:])
    with torch.no_grad(), torch.autocast(arguments.q.device.type, enabled=False):
        return tuple(
            dispatch.INSTALLED[arguments.kernel].backward(
                arguments.loop(), saved, Upstream(d_output, d_weights, d_biases)
            )
        )


def _fake_backward(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401
    def like(x: Tensor) -> Tensor:
        return x.new_empty(x.shape)

    arguments = OperatorArguments(*args[4:])
    q, k, v, token_eta, lr, weights, biases, ln_w, ln_b = arguments[:9]
    return (
        *(like(x) for x in (q, k, v, token_eta, lr)),
        [like(w) for w in weights],
        [like(b) for b in biases],
        like(ln_w),
        like(ln_b),
    )


def _save_arguments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:  # noqa: ANN401
    """Keep the arguments and what the kernel saved; moments are constants to the outer gradient."""
    arguments, result = OperatorArguments(*inputs[:-1]), OperatorResult(*output)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*result.moments, *result.saved)
    if not inputs[-1]:
        ctx.save_for_backward()
        ctx.arguments = None
        return
    tensors: list[Tensor] = []
    for value in (*arguments[:10], result.saved):
        tensors += [value] if isinstance(value, Tensor) else value
    ctx.save_for_backward(*tensors)
    ctx.layers, ctx.moments = len(arguments.weights), len(arguments.moments)
    ctx.arguments = tuple(arguments[10:])


def _saved_arguments(ctx: Any) -> tuple[list[Any], list[Tensor]]:  # noqa: ANN401
    """Undo `_save_arguments`: the values of `_ARGUMENTS`, what the kernel saved."""
    if ctx.arguments is None:
        raise KernelError("the forward operator was told to save nothing for a backward pass")
    tensors = list(ctx.saved_tensors)

    def take(count: int) -> list[Tensor]:
        taken = tensors[:count]
        del tensors[:count]
        return taken

    tokens, weights, biases = take(5), take(ctx.layers), take(ctx.layers)
    norm, moments = take(2), take(ctx.moments)
    return [*tokens, weights, biases, *norm, moments, *ctx.arguments], tensors


def _register(family: str) -> None:
    """Define both operators of a family."""
    forward, backward = f"ttt::{family}", f"ttt::{family}_backward"
    torch.library.define(
        forward, f"({_ARGUMENTS}, bool save) -> (Tensor, Tensor[], Tensor[], Tensor[], Tensor[])"
    )
    torch.library.define(
        backward,
        "(Tensor? d_output, Tensor?[] d_weights, Tensor?[] d_biases, Tensor[] saved, "
        f"{_ARGUMENTS}) -> ({_GRADIENTS})",
    )
    for name, implementation, fake in (
        (forward, _forward, _fake_forward),
        (backward, _backward, _fake_backward),
    ):
        torch.library.impl(name, "CompositeExplicitAutograd", implementation)
        torch.library.register_fake(name, fake)

    def differentiate(ctx: Any, *upstream: Any) -> tuple[Any, ...]:  # noqa: ANN401
        d_output, d_weights, d_biases, *_ = upstream
        arguments, saved = _saved_arguments(ctx)
        operator = getattr(torch.ops.ttt, f"{family}_backward")
        gradients = operator(d_output, d_weights, d_biases, saved, *arguments)
        # none for moments, step, adam, mini_batch_size, eps, checkpoint_interval, kernel and save;
        # an empty list is a structure of its own to torch, one of numbers is not
        no_adam: list[None] | None = [] if ctx.moments == 0 else None
        return (*gradients, [None] * ctx.moments, None, no_adam, *[None] * 5)

    torch.library.register_autograd(forward, differentiate, setup_context=_save_arguments)
    torch.library.register_autograd(backward, _refuse_second_derivative)


def _refuse_second_derivative(ctx: FunctionCtx, *upstream: Tensor) -> None:
    del ctx, upstream
    raise KernelError(
        "the inner loop has no second derivative: its gradient cannot be differentiated again "
        "(drop create_graph=True)"
    )


for _family in FAMILIES:
    _register(_family)
