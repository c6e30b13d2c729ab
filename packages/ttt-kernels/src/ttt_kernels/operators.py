"""The inner loop as torch operators: `ttt::linear`, `ttt::linear_adam`, `ttt::mlp`.

Each family is a forward and a backward operator of one signature, so that `torch.compile`,
activation checkpointing, profilers and DDP see one node whose insides they leave alone. What the
backward pass needs is an output of the forward operator, hence planned and freed like any other
tensor. The arguments are checked in `ops`; here they go to the kernel that is named.

Autocast does not reach inside: the operators take tokens of any dtype, compute in the dtype of the
state and return outputs in the dtype of q.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

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


class _Differentiated(Function):
    """A forward operator with its derivative, arguments and results without lists.

    `torch.library.register_autograd` would do the same, but takes lists apart and puts them
    together leaf by leaf, at each call, for half a millisecond.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        """Compute the results, flat.

        Args:
            args: what remembers for `backward`, name of the operator, how many layers and how many
                moments, the arguments that are no tensors, and all tensors.
            kwargs: none.
        """
        del kwargs
        ctx, family, counts, options, *tensors = args
        arguments, _ = _nested(tensors, counts)
        result = OperatorResult(*_below_autograd(family, *arguments, *options))
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*result.moments, *result.saved)
        if options[-1]:
            ctx.save_for_backward(*tensors, *result.saved)
        ctx.family, ctx.counts, ctx.options = family, counts, options
        return tuple(_flat(result))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Call the backward operator; moments are constants to the outer gradient."""
        *options, save = ctx.options
        if not save:
            raise KernelError("the forward operator was told to save nothing for a backward pass")
        arguments, saved = _nested(ctx.saved_tensors, ctx.counts)
        layers, moments = ctx.counts
        d_output, *d_states = grad_outputs[: 1 + 2 * layers]
        gradients = getattr(torch.ops.ttt, f"{ctx.family}_backward")(
            *(d_output, d_states[:layers], d_states[layers:], saved, *arguments, *options)
        )
        return (None, None, None, *_flat(gradients), *[None] * moments)


def _flat(values: Iterable[Tensor | Sequence[Tensor]]) -> list[Tensor]:
    """Tensors, and those of lists of tensors, one after the other."""
    flat: list[Tensor] = []
    for value in values:
        flat += [value] if isinstance(value, Tensor) else value
    return flat


def _nested(tensors: Sequence[Tensor], counts: tuple[int, int]) -> tuple[list[Any], list[Tensor]]:
    """Undo `_flat`: the tensors of `_ARGUMENTS` for so many layers and moments, and the rest."""
    layers, moments = counts
    left = iter(tensors)

    def take(count: int) -> list[Tensor]:
        return list(islice(left, count))

    return [*take(5), take(layers), take(layers), *take(2), take(moments)], list(left)


def _below_autograd(family: str, *args: Any) -> tuple[Any, ...]:  # noqa: ANN401
    with torch._C._AutoDispatchBelowAutograd():
        return getattr(torch.ops.ttt, family)(*args)


def _differentiably(family: str, *args: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Forward operator where autograd looks on."""
    arguments = OperatorArguments(*args[:-1])
    tensors = _flat(arguments[:10])
    if not (torch.is_grad_enabled() and any(each.requires_grad for each in tensors)):
        return _below_autograd(family, *args)
    layers, moments = len(arguments.weights), len(arguments.moments)
    results = iter(
        _Differentiated.apply(family, (layers, moments), (*arguments[10:], args[-1]), *tensors)
    )
    output, *states = (list(islice(results, count)) for count in (1, layers, layers, moments))
    return (*output, *states, list(results))


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
    torch.library.impl(forward, "Autograd", partial(_differentiably, family))
    torch.library.register_autograd(backward, _refuse_second_derivative)


def _refuse_second_derivative(ctx: FunctionCtx, *upstream: Tensor) -> None:
    del ctx, upstream
    raise KernelError(
        "the inner loop has no second derivative: its gradient cannot be differentiated again "
        "(drop create_graph=True)"
    )


for _family in FAMILIES:
    _register(_family)
