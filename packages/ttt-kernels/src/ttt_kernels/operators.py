"""The inner loop as torch operators: `ttt::linear`, `ttt::linear_adam`, `ttt::mlp`.

Each family is a forward and a backward operator of one signature, so that `torch.compile`,
activation checkpointing, profilers and DDP see one node whose insides they leave alone. What the
backward pass needs is an output of the forward operator, hence planned and freed like any other
tensor. The arguments are checked in `ops`; here they go to the kernel that is named.

Autocast does not reach inside: the operators take tokens of any dtype, compute in the dtype of the
state and return outputs in the dtype of q.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
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


class _Layout(NamedTuple):
    """How many tensors of which kind there are in a row: tokens, weights, biases, norm, moments.

    Attributes:
        layers: weights, and biases.
        moments: of Adam.
    """

    layers: int
    moments: int

    @property
    def total(self) -> int:
        """All tensors of the arguments: five of tokens and two of the layer norm besides."""
        return 7 + 2 * self.layers + self.moments

    def arguments(self, tensors: Sequence[Tensor], constants: Sequence[Any]) -> OperatorArguments:
        """Lay out the arguments as operators take them."""
        rest: list[Any] = list(tensors)
        tokens, weights, biases = _take(rest, 5), _take(rest, self.layers), _take(rest, self.layers)
        norm, moments = _take(rest, 2), rest
        values: list[Any] = [*tokens, weights, biases, *norm, moments, *constants]
        return OperatorArguments(*values)


class _Differentiable(torch.autograd.Function):
    """A forward operator under autograd, its lists of tensors laid out flat.

    `torch.library.register_autograd` would flatten and rebuild every list by a general tree, which
    takes longer than a layer on a GPU.
    """

    @staticmethod
    # pyrefly: ignore[bad-override] - torch declares *args
    def forward(
        ctx: Any,  # noqa: ANN401
        family: str,
        layout: _Layout,
        constants: tuple[Any, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Run the operator; moments are constants to the outer gradient."""
        *constants_before_save, save = constants
        arguments = layout.arguments(tensors, constants_before_save)
        result = _below_autograd(family, arguments, save=save)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*result.moments, *result.saved)
        ctx.family, ctx.layout, ctx.save = family, layout, save
        ctx.constants = tuple(constants_before_save)
        if save:
            ctx.save_for_backward(*tensors, *result.saved)
        return (
            *(result.output, *result.weights, *result.biases),
            *(*result.moments, *result.saved),
        )

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Run the backward operator."""
        if not ctx.save:
            raise KernelError("the forward operator was told to save nothing for a backward pass")
        layout: _Layout = ctx.layout
        saved = list(ctx.saved_tensors)
        arguments = layout.arguments(_take(saved, layout.total), ctx.constants)
        of_results = list(upstream)
        [d_output] = _take(of_results, 1)
        d_weights, d_biases = (_take(of_results, layout.layers) for _ in range(2))
        operator = getattr(torch.ops.ttt, f"{ctx.family}_backward")
        # With create_graph=True autograd has to see the operator, to refuse; else it costs time.
        graph_wanted = torch.is_grad_enabled()
        with nullcontext() if graph_wanted else torch._C._AutoDispatchBelowAutograd():
            gradients = operator(d_output, d_weights, d_biases, saved, *arguments)
        *of_tokens, of_weights, of_biases, of_ln_w, of_ln_b = gradients
        of_arguments = (*of_tokens, *of_weights, *of_biases, of_ln_w, of_ln_b)
        return (None, None, None, *of_arguments, *[None] * layout.moments)


def _take(tensors: list[Any], count: int) -> list[Any]:
    """Remove the first ones."""
    taken = tensors[:count]
    del tensors[:count]
    return taken


def _below_autograd(family: str, arguments: OperatorArguments, *, save: bool) -> OperatorResult:
    with torch._C._AutoDispatchBelowAutograd():
        return run(family, arguments, save=save)


def _autograd(family: str) -> Callable[..., tuple[Any, ...]]:
    """The autograd kernel of a family's forward operator."""

    def differentiable(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401 - the schema types them
        arguments, save = OperatorArguments(*args[:-1]), args[-1]
        weights, biases, moments = arguments.weights, arguments.biases, arguments.moments
        tensors = (*arguments[:5], *weights, *biases, *arguments[7:9], *moments)
        if not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)):
            return tuple(_below_autograd(family, arguments, save=save))
        layout = _Layout(len(weights), len(moments))
        constants = (*arguments[10:], save)
        output, *saved = _Differentiable.apply(family, layout, constants, *tensors)
        ends = [_take(saved, count) for count in (layout.layers, layout.layers, layout.moments)]
        return (output, *ends, saved)

    return differentiable


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

    torch.library.impl(forward, "Autograd", _autograd(family))
    torch.library.register_autograd(backward, _refuse_second_derivative)


def _refuse_second_derivative(ctx: FunctionCtx, *upstream: Tensor) -> None:
    del ctx, upstream
    raise KernelError(
        "the inner loop has no second derivative: its gradient cannot be differentiated again "
        "(drop create_graph=True)"
    )


for _family in FAMILIES:
    _register(_family)
