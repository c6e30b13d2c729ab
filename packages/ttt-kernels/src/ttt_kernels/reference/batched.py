"""One mini-batch as in `mini_batch`, on batched matrix products and without autograd.

The same formulas in the same notation; what differs is that S = B H rows stand on one axis, that
the state is updated in place, and that what the backward pass needs is returned.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.reference.activation import gelu_terms
from ttt_kernels.reference.mini_batch import InnerGradients
from ttt_kernels.reference.normalization import remove_affine, standardize
from ttt_kernels.reference.update import AdamUpdate, InnerParameters


class LayerNorm(NamedTuple):
    """The inner layer norm, row by row of S = B H.

    Attributes:
        weight: gamma, (S, 1, D).
        bias: beta, (S, 1, D).
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    eps: float


class KeyPass(NamedTuple):
    """What the n keys of a mini-batch leave behind on their way through L layers and back.

    Attributes:
        inputs: x_l, (S, n, in), L of them.
        gradients: g_l, (S, n, out), L of them.
        pulled: g_{l+1} W_{l+1}^T, the gradient at x_{l+1}, (S, n, out), L - 1 of them.
        slopes: gelu'(z_l), (S, n, out), L - 1 of them.
        curvatures: gelu''(z_l), likewise; none if only a forward pass was asked for.
        normed: standardized z_L, (S, n, D).
        inverse_std: of z_L, (S, n, 1).
        error: LN(z_L) - target, (S, n, D).
    """

    inputs: list[Tensor]
    gradients: list[Tensor]
    pulled: list[Tensor]
    slopes: list[Tensor]
    curvatures: list[Tensor]
    normed: Tensor
    inverse_std: Tensor
    error: Tensor


class QueryPass(NamedTuple):
    """What the n queries leave behind.

    Attributes:
        inputs: input of each layer, (S, n, in), L of them.
        slopes: gelu' between the layers, (S, n, out), L - 1 of them.
        attentions: 1 + (input of the layer) x_l^T, (S, n, n), L of them.
    """

    inputs: list[Tensor]
    slopes: list[Tensor]
    attentions: list[Tensor]


def read_keys(
    keys: Tensor, targets: Tensor, state: InnerParameters, norm: LayerNorm, *, curvature: bool
) -> KeyPass:
    """Differentiate the inner loss of each key; see `mini_batch.inner_gradients`.

    Args:
        keys: (S, n, D).
        targets: v - k, (S, n, D).
        state: at the start of the mini-batch.
        norm: the inner layer norm.
        curvature: also compute gelu''.
    """
    weights, biases = state.weights, state.biases
    inputs = [keys]
    slopes: list[Tensor] = []
    curvatures: list[Tensor] = []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = torch.baddbmm(bias.unsqueeze(1), inputs[-1], weight)
        x, *derivatives = gelu_terms(z, 2 if curvature else 1)
        inputs.append(x)
        slopes.append(derivatives[0])
        curvatures += derivatives[1:]
    z = torch.baddbmm(biases[-1].unsqueeze(1), inputs[-1], weights[-1])
    normed, inverse_std = standardize(z, norm.eps)
    error = torch.addcmul(norm.bias, norm.weight, normed).sub_(targets)
    gradients = [remove_affine(error * norm.weight, normed).mul_(inverse_std)]
    pulled: list[Tensor] = []
    for weight, slope in zip(reversed(weights[1:]), reversed(slopes), strict=True):
        pulled.insert(0, torch.bmm(gradients[0], weight.mT))
        gradients.insert(0, pulled[0] * slope)
    return KeyPass(inputs, gradients, pulled, slopes, curvatures, normed, inverse_std, error)


def answer(
    queries: Tensor, keys: KeyPass, eta: Tensor, state: InnerParameters, out: Tensor
) -> None:
    """Write the inner model's answer before its layer norm; see `mini_batch.answer_queries`.

    Args:
        queries: (S, n, D).
        keys: of the same mini-batch.
        eta: (S, n, n), 0 above the diagonal.
        state: at the start of the mini-batch.
        out: (S, n, D), overwritten.
    """
    x = queries
    for layer in range(len(state.weights) - 1):
        attention = _attention(x, keys.inputs[layer]).mul_(eta)
        (x,) = gelu_terms(_respond(x, attention, keys, state, layer), 0)
    attention = _attention(x, keys.inputs[-1]).mul_(eta)
    out.copy_(_respond(x, attention, keys, state, -1))


def read_queries(queries: Tensor, keys: KeyPass, eta: Tensor, state: InnerParameters) -> QueryPass:
    """Recompute what `answer` computes on its way, but not the answer itself.

    Arguments as `answer`.
    """
    inputs = [queries]
    slopes: list[Tensor] = []
    attentions = [_attention(queries, keys.inputs[0])]
    for layer in range(len(state.weights) - 1):
        z = _respond(inputs[-1], attentions[-1] * eta, keys, state, layer)
        value, slope = gelu_terms(z, 1)
        inputs.append(value)
        slopes.append(slope)
        attentions.append(_attention(value, keys.inputs[layer + 1]))
    return QueryPass(inputs, slopes, attentions)


def step(
    state: InnerParameters, keys: KeyPass, last_eta: Tensor, adam: AdamUpdate | None
) -> InnerParameters:
    """End a mini-batch: the next state; see `update`.

    Args:
        state: at the start of the mini-batch. Plain descent overwrites it, Adam does not.
        keys: of the mini-batch.
        last_eta: c, the last row of eta as a column, (S, n, 1).
        adam: the rule; None is descent, W - (c x)^T g.
    """
    if adam is not None:
        return adam(state, InnerGradients(keys.inputs, keys.gradients), last_eta)
    for weight, bias, x, g in zip(
        state.weights, state.biases, keys.inputs, keys.gradients, strict=True
    ):
        scaled = last_eta * g
        weight.baddbmm_(x.mT, scaled, alpha=-1)
        bias.sub_(scaled.sum(1))
    return state


def _attention(queries: Tensor, keys: Tensor) -> Tensor:
    """1 + q k^T: the one is the bias, as the weight of a constant feature."""
    return torch.bmm(queries, keys.mT).add_(1.0)


def _respond(
    x: Tensor, attention: Tensor, keys: KeyPass, state: InnerParameters, layer: int
) -> Tensor:
    """Output of a layer as updated by the keys up to each query: x W + b - attention g."""
    z = torch.baddbmm(state.biases[layer].unsqueeze(1), x, state.weights[layer])
    return z.baddbmm_(attention, keys.gradients[layer], alpha=-1)
