"""The gradient of one mini-batch by hand (its forward pass: `mini_batch`, `batched`).

Notation of the package; d_y stands for the outer gradient with respect to y, W' for the state a
mini-batch ends in, c for the last row of eta, P = eta (1 + A) with A_l = q_l x_l^T and q_l the
query path's input of layer l:

    W' = W - (c x)^T g         d_g = -c (x d_W' + d_b'),  d_x = -c (g d_W'^T)
    o = q + LN(z_q)            d_z_q of the last layer
    z_q = q W + b - P g        d_g -= P^T d_zq,  d_P = -d_zq g^T,  d_q = d_zq W^T + (eta d_P) x,
                               d_x += (eta d_P)^T q,  d_W += q^T d_zq
    g = (g_+ W_+^T) gelu'(z)   d_g+ += (d_g gelu'(z)) W_+,  d_W+ += (d_g gelu'(z))^T g_+,
                               d_z = d_g (g_+ W_+^T) gelu''(z)
    g_L = gradient of the loss at z_L, which see `_loss_gradient_backward`
    z = x W + b                d_x += d_z W^T,  d_W += x^T d_z;  d_z of the layer below from d_x

The first line is read before d_W' becomes d_W in place. A state that is not differentiated through
(a remainder's, or Adam's) leaves the first line out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.reference.batched import KeyPass, LayerNorm, QueryPass
from ttt_kernels.reference.normalization import remove_affine, standardize
from ttt_kernels.reference.update import InnerParameters


class TokenGradients(NamedTuple):
    """Where a mini-batch leaves the gradients of its tokens.

    Attributes:
        queries: (S, n, D), added to: holds the gradient of the outputs, which contain q itself.
        keys: (S, n, D), overwritten; without what reaches k through the targets v - k.
        targets: (S, n, D), overwritten.
        eta: (S, n, n), overwritten, its upper triangle with what has no meaning. The last row
            holds the gradient of c, too.
        ln_w: (S, n, D), added to; by position in the mini-batch.
    """

    queries: Tensor
    keys: Tensor
    targets: Tensor
    eta: Tensor
    ln_w: Tensor


def mini_batch_backward(
    keys: KeyPass,
    queries: QueryPass,
    eta: Tensor,
    last_eta: Tensor | None,
    state: InnerParameters,
    norm: LayerNorm,
    answer: Tensor,
    d_state: InnerParameters,
    out: TokenGradients,
) -> None:
    """Turn the gradient of outputs and final state into that of tokens and initial state.

    Args:
        keys: of the mini-batch, with curvatures.
        queries: of the mini-batch.
        eta: (S, n, n), 0 above the diagonal.
        last_eta: c, (S, n, 1); None if the state is not differentiated through.
        state: at the start of the mini-batch.
        norm: the inner layer norm.
        answer: the answers before their layer norm, (S, n, D).
        d_state: with respect to the state after the mini-batch; becomes that before it.
        out: where the other gradients go. Not that of beta: it is the sum over tokens of the
            gradients of the outputs, less that of the gradients of the targets.
    """
    d_answer = _output_backward(answer, norm, out)
    d_eta = out.eta.zero_()
    d_inputs, d_gradients = _update_backward(keys, last_eta, d_state, d_eta)
    _answer_backward(
        keys, queries, eta, state, d_answer, d_state, d_inputs, d_gradients, d_eta, out.queries
    )
    d_pre_activations = _chain_backward(keys, state, d_state, d_gradients)
    d_top = _loss_gradient_backward(keys, norm, d_gradients[-1], out)
    _layers_backward(keys, state, d_state, d_inputs, [*d_pre_activations, d_top])
    out.keys.copy_(d_inputs[0])


def _output_backward(answer: Tensor, norm: LayerNorm, out: TokenGradients) -> Tensor:
    """Backward of q + LN(answer): the gradient of the answer; gamma's is added to `out`."""
    normed, inverse_std = standardize(answer, norm.eps)
    out.ln_w.addcmul_(out.queries, normed)
    return remove_affine(out.queries * norm.weight, normed).mul_(inverse_std)


def _update_backward(
    keys: KeyPass, last_eta: Tensor | None, d_state: InnerParameters, d_eta: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Backward of W' = W - (c x)^T g, b' = b - c^T g: gradients of the x_l and g_l.

    The gradient of c, -rowsum(g (x d_W' + d_b')), is added to the last row of `d_eta`.
    """
    if last_eta is None:
        zeros = [torch.zeros_like(x) for x in (*keys.inputs, *keys.gradients)]
        return zeros[: len(keys.inputs)], zeros[len(keys.inputs) :]
    d_inputs: list[Tensor] = []
    d_gradients: list[Tensor] = []
    for x, g, d_weight, d_bias in zip(
        keys.inputs, keys.gradients, d_state.weights, d_state.biases, strict=True
    ):
        moved = torch.baddbmm(d_bias.unsqueeze(1), x, d_weight)
        d_eta[:, -1].sub_((g * moved).sum(-1))
        d_gradients.append(moved.mul_(last_eta).neg_())
        d_inputs.append(torch.bmm(g, d_weight.mT).mul_(last_eta).neg_())
    return d_inputs, d_gradients


def _answer_backward(
    keys: KeyPass,
    queries: QueryPass,
    eta: Tensor,
    state: InnerParameters,
    d_answer: Tensor,
    d_state: InnerParameters,
    d_inputs: list[Tensor],
    d_gradients: list[Tensor],
    d_eta: Tensor,
    d_queries: Tensor,
) -> None:
    """Backward of the query path z_q = q W + b - eta (1 + A) g, from the last layer to the first.

    Adds to `d_state`, `d_inputs`, `d_gradients`, `d_eta` and `d_queries`.
    """
    d_z = d_answer
    for layer in reversed(range(len(state.weights))):
        q, x, g = queries.inputs[layer], keys.inputs[layer], keys.gradients[layer]
        attention = queries.attentions[layer]
        d_product = torch.bmm(d_z, g.mT)  # -d_P
        d_eta.addcmul_(d_product, attention, value=-1)
        d_attention = d_product.mul_(eta)
        d_gradients[layer].baddbmm_(attention.mul_(eta).mT, d_z, alpha=-1)
        d_inputs[layer].baddbmm_(d_attention.mT, q, alpha=-1)
        d_state.weights[layer].baddbmm_(q.mT, d_z)
        d_state.biases[layer].add_(d_z.sum(1))
        if layer == 0:
            d_queries.baddbmm_(d_z, state.weights[0].mT).baddbmm_(d_attention, x, alpha=-1)
        else:
            d_q = torch.bmm(d_z, state.weights[layer].mT).baddbmm_(d_attention, x, alpha=-1)
            d_z = d_q.mul_(queries.slopes[layer - 1])


def _chain_backward(
    keys: KeyPass, state: InnerParameters, d_state: InnerParameters, d_gradients: list[Tensor]
) -> list[Tensor]:
    """Backward of g_l = (g_{l+1} W_{l+1}^T) gelu'(z_l), from the first layer to the last but one.

    Adds to `d_state` and `d_gradients`; returns the gradients of z_1 ... z_{L-1}.
    """
    d_pre_activations: list[Tensor] = []
    for layer, (pulled, slope, curvature) in enumerate(
        zip(keys.pulled, keys.slopes, keys.curvatures, strict=True)
    ):
        d_gradient = d_gradients[layer]
        d_pulled = d_gradient * slope
        d_gradients[layer + 1].baddbmm_(d_pulled, state.weights[layer + 1])
        d_state.weights[layer + 1].baddbmm_(d_pulled.mT, keys.gradients[layer + 1])
        d_pre_activations.append(d_gradient.mul_(pulled).mul_(curvature))
    return d_pre_activations


def _loss_gradient_backward(
    keys: KeyPass, norm: LayerNorm, upstream: Tensor, out: TokenGradients
) -> Tensor:
    """Backward of g = r (a - mean(a) - n mean(a n)), a = gamma e, e = gamma n + beta - target.

    n is the standardized z_L and r = 1 / std. With u the gradient of g, a's is
    s = r (u - mean(u) - n mean(u n)), e's is gamma s, n's is
    gamma^2 s - r (u mean(a n) + a mean(u n)), and r's is (u g) / r.

    Returns:
        The gradient of z_L, (S, n, D). The target's and gamma's go to `out`.
    """
    normed, inverse_std, error = keys.normed, keys.inverse_std, keys.error
    scaled = upstream * inverse_std
    d_a = remove_affine(scaled, normed)
    d_error = d_a * norm.weight
    torch.neg(d_error, out=out.targets)
    out.ln_w.addcmul_(d_a, error).addcmul_(d_error, normed)
    a = error * norm.weight
    d_normed = d_error.mul_(norm.weight)
    d_normed.addcmul_(scaled, (a * normed).mean(-1, keepdim=True), value=-1)
    d_normed.addcmul_(a, (scaled * normed).mean(-1, keepdim=True), value=-1)
    d_z = remove_affine(d_normed, normed)
    d_z.addcmul_(normed, (upstream * keys.gradients[-1]).mean(-1, keepdim=True), value=-1)
    return d_z.mul_(inverse_std)


def _layers_backward(
    keys: KeyPass,
    state: InnerParameters,
    d_state: InnerParameters,
    d_inputs: list[Tensor],
    d_pre_activations: list[Tensor],
) -> None:
    """Backward of z_l = x_l W_l + b_l, x_{l+1} = gelu(z_l), from the last layer to the first.

    Adds to `d_state` and `d_inputs`.
    """
    for layer in reversed(range(len(state.weights))):
        d_z = d_pre_activations[layer]
        d_state.weights[layer].baddbmm_(keys.inputs[layer].mT, d_z)
        d_state.biases[layer].add_(d_z.sum(1))
        d_inputs[layer].baddbmm_(d_z, state.weights[layer].mT)
        if layer:
            d_pre_activations[layer - 1].addcmul_(d_inputs[layer], keys.slopes[layer - 1])
