"""The primal form of the inner loop for the tests: token by token, gradients by autograd.

It shares no code with the package, so agreement with it is evidence for both.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def inner_model(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], ln_w: Tensor, ln_b: Tensor
) -> Tensor:
    """LN(f(x)) of one head, x of shape (D,)."""
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x @ weight + bias
        if layer < len(weights) - 1:
            x = functional.gelu(x, approximate="tanh")
    return functional.layer_norm(x, x.shape, ln_w, ln_b, eps=1e-6)


def primal_head(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    parameters: list[Tensor],
    ln_w: Tensor,
    ln_b: Tensor,
    mini_batch_size: int,
    adam: torch.optim.Adam | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Read one sequence and head, q (T, D); return the outputs and the state at the boundary.

    With `adam`, which holds `parameters`, the state is carried over boundaries by its steps.
    """
    layers = len(parameters) // 2
    outputs = []
    pending = [torch.zeros_like(p) for p in parameters]
    for t in range(len(q)):
        position = t % mini_batch_size
        leaves = [p.detach().requires_grad_() for p in parameters]
        prediction = inner_model(k[t], leaves[:layers], leaves[layers:], ln_w, ln_b)
        loss = 0.5 * (prediction - (v[t] - k[t])).square().sum()
        gradients = torch.autograd.grad(loss, leaves)
        pending = [a + lr[t] * g for a, g in zip(pending, gradients, strict=True)]
        step = token_eta[position]
        updated = [p.detach() - step * a for p, a in zip(parameters, pending, strict=True)]
        answer = inner_model(q[t], updated[:layers], updated[layers:], ln_w, ln_b)
        outputs.append(q[t] + answer)
        if position == mini_batch_size - 1:
            if adam is None:
                parameters = updated
            else:
                for parameter, total in zip(parameters, pending, strict=True):
                    parameter.grad = step * total
                adam.step()
            pending = [torch.zeros_like(p) for p in parameters]
    return torch.stack(outputs), [p.detach() for p in parameters]
