"""One mini-batch in the dual form (arXiv 2407.04620, section 2.5): all its tokens at once.

Every gradient is taken at the parameters the mini-batch starts from. Token i is answered by the
parameters after its own step, W_i = W - token_eta_i * sum_{j <= i} lr_j x_j^T g_j, without ever
forming W_i: x W_i + b_i = x W + b - (eta * (x x_j^T + 1)) g_j, where the "+ 1" is the bias.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ttt_kernels.reference.activation import gelu, gelu_derivative
from ttt_kernels.reference.normalization import l2_loss_gradient


class InnerGradients(NamedTuple):
    """What one mini-batch of n keys says about each of the L layers.

    Attributes:
        inputs: x_l, the input of layer l, (B, H, n, in_l).
        outputs: g_l, the gradient of the inner loss at the output of layer l, (B, H, n, out_l).
    """

    inputs: list[Tensor]
    outputs: list[Tensor]


def forward_layers(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Run the inner model without its layer norm.

    Returns:
        Per layer its input x_l and its output before the activation z_l; the last z is the result.
    """
    inputs = [x]
    pre_activations: list[Tensor] = []
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        pre_activations.append(inputs[-1] @ weight + bias.unsqueeze(-2))
        if layer < len(weights) - 1:
            inputs.append(gelu(pre_activations[-1]))
    return inputs, pre_activations


def inner_gradients(
    keys: Tensor,
    targets: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    ln_w: Tensor,
    ln_b: Tensor,
    eps: float,
) -> InnerGradients:
    """Differentiate the inner loss 0.5 ||LN(f(k)) - target||^2 of each key by hand.

    Args:
        keys: (B, H, n, D).
        targets: v - k, (B, H, n, D).
        weights: W_l, (H, in, out) or (B, H, in, out).
        biases: b_l, (H, out) or (B, H, out).
        ln_w: (H, 1, D).
        ln_b: (H, 1, D).
        eps: added to the variance of the layer norm.
    """
    inputs, pre_activations = forward_layers(keys, weights, biases)
    gradient = l2_loss_gradient(pre_activations[-1], targets, ln_w, ln_b, eps)
    outputs = [gradient]
    for layer in reversed(range(len(weights) - 1)):
        back = outputs[0] @ weights[layer + 1].transpose(-1, -2)
        outputs.insert(0, back * gelu_derivative(pre_activations[layer]))
    return InnerGradients(inputs, outputs)


def answer_queries(
    queries: Tensor,
    gradients: InnerGradients,
    eta: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    """Run each query through the parameters as updated by the keys up to its own position.

    Args:
        queries: (B, H, n, D).
        gradients: of the same mini-batch.
        eta: eta[i, j] = token_eta_i * lr_j for j <= i and 0 above the diagonal, (B, H, n, n).
        weights: W_l at the start of the mini-batch.
        biases: b_l at the start of the mini-batch.

    Returns:
        Output of the inner model before its layer norm, (B, H, n, D).
    """
    activation = queries
    output = queries
    for layer, (x, g) in enumerate(zip(*gradients, strict=True)):
        attention = eta * (activation @ x.transpose(-1, -2) + 1.0)
        output = activation @ weights[layer] + biases[layer].unsqueeze(-2) - attention @ g
        if layer < len(weights) - 1:
            activation = gelu(output)
    return output
