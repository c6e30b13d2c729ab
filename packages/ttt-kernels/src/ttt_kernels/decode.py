"""One token at a time: the inner loop without reading an open mini-batch again.

The tokens of an open mini-batch have been answered but not learned from; all that later tokens need
of them is the input x_l and the gradient g_l of each inner layer (arXiv 2407.04620, section 2.5).
Kept, they make a token cost one reading of the state: x W + b - (eta * (x x_j^T + 1)) g_j.

Sequences and heads stand on one axis of S = B H rows, r is the number of open tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ttt_kernels.capability import CAPABILITIES, Problem
from ttt_kernels.dispatch import INSTALLED
from ttt_kernels.errors import ShapeError
from ttt_kernels.gpu.kernel import LARGEST_HEAD, TOKEN_DTYPES
from ttt_kernels.learned import Learned, by_layer, side_by_side
from ttt_kernels.reference.mini_batch import InnerGradients, inner_gradients
from ttt_kernels.reference.update import InnerParameters, SGDUpdate, Update


@torch.no_grad()
def decode_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    parameters: InnerParameters,
    learned: Learned,
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    update: Update,
    eps: float = 1e-6,
) -> tuple[Tensor, InnerParameters, Learned]:
    """Read one token of every sequence, all at the same offset r in their mini-batch.

    What comes out is, up to rounding, what `ttt_linear` and its kin answer to the last of the r + 1
    tokens. It has no gradient. On a CPU it is compiled code, on a GPU a single layer under gradient
    descent is one Triton kernel, everything else is plain torch; `ttt_kernels.gpu.decode` has the
    kernel with a state that stays in place, for CUDA graphs.

    Args:
        q: query, (B, 1, H, D), any float dtype.
        k: key, like `q`.
        v: value, like `q`.
        token_eta: step size by position in the mini-batch, (M,).
        lr: learned step sizes of the open tokens and of this one, (B, r + 1, H), r < M.
        parameters: at the last boundary, weights (B, H, in, out) and biases (B, H, out).
        learned: of the r open tokens, from `read_open_tokens` or the last call.
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: bias of the inner layer norm, (H, D).
        update: how parameters are carried over a boundary.
        eps: added to the variance of the inner layer norm.

    Returns:
        Output (B, 1, H, D) in the dtype of `q`; the parameters, which are those that were given
        unless this token completes the mini-batch; and what is known of the open tokens. No
        argument is changed.

    Raises:
        ShapeError: there is more than one token, or the numbers of open tokens disagree.
    """
    count, size = lr.shape[1], len(token_eta)
    _check(q, k, v, lr, learned, size)
    complete, descends = count == size, isinstance(update, SGDUpdate)
    tensors = (q, k, v, token_eta, lr, parameters, learned, ln_w, ln_b, eps)
    if descends and _fused(q, k, v, parameters):
        from ttt_kernels.gpu import decode  # imports Triton

        return decode.answer(*tensors)
    compiled = q.device.type == "cpu" and "cpu" in INSTALLED and not torch.compiler.is_compiling()
    if compiled:
        from ttt_kernels.cpu import decode  # imports the compiler

        output, parameters, now = decode.decode_step(*tensors, descend=complete and descends)
    else:
        output, now = _decode_step(*tensors)
    if not complete:
        return output, parameters, now
    if not (compiled and descends):
        parameters = _next_mini_batch(parameters, now, token_eta[-1], lr, update)
    return output, parameters, now.cleared()


@torch.no_grad()
def read_open_tokens(
    k: Tensor, v: Tensor, parameters: InnerParameters, ln_w: Tensor, ln_b: Tensor, *, eps: float
) -> Learned:
    """Compute what `decode_step` needs to know of the open tokens of a mini-batch.

    Args:
        k: keys of the open tokens, (B, r, H, D), r >= 0.
        v: values, like `k`.
        parameters: as for `decode_step`.
        ln_w: as for `decode_step`.
        ln_b: as for `decode_step`.
        eps: as for `decode_step`.

    Returns:
        Input and gradient of each inner layer of r tokens.
    """
    weights, biases = parameters.weights, parameters.biases
    dtype = weights[0].dtype
    if k.shape[1] == 0:
        batch, _, heads, _ = k.shape
        numbers = sum(weight.shape[-2] + weight.shape[-1] for weight in weights)
        return Learned.of(weights[0].new_empty(batch, heads, 0, numbers))
    with torch.autocast(k.device.type, enabled=False):
        keys, values = (x.to(dtype).transpose(1, 2) for x in (k, v))
        ln_w, ln_b = (x.to(dtype).unsqueeze(-2) for x in (ln_w, ln_b))
        gradients = inner_gradients(keys, values - keys, weights, biases, ln_w, ln_b, eps)
    return Learned.of(side_by_side(gradients))


def _decode_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    parameters: InnerParameters,
    learned: Learned,
    ln_w: Tensor,
    ln_b: Tensor,
    eps: float,
) -> tuple[Tensor, Learned]:
    """`decode_step` by torch, but for the step that ends a mini-batch: output and `learned`."""
    (batch, _, heads, dim), count = q.shape, lr.shape[1]
    dtype = parameters.weights[0].dtype
    with torch.autocast(q.device.type, enabled=False):
        key, value, query = (x.to(dtype).reshape(batch * heads, 1, dim) for x in (k, v, q))
        rates = lr.to(dtype).transpose(1, 2).reshape(batch * heads, 1, count)
        model = _InnerModel.of(parameters, ln_w, ln_b, eps)
        first = model.layer(0, torch.cat([key, query], 1))
        own = side_by_side(model.learn(key, value - key, first[:, :1]))
        rows = torch.cat([learned.rows.flatten(0, 1), own], 1)
        steps = rates * -token_eta[count - 1].to(dtype)
        output = model.answer(query, first[:, 1:], by_layer(rows, model.weights), steps)
    learned = Learned.of(rows.unflatten(0, (batch, heads)))
    return output.view(q.shape).to(q.dtype), learned


def _next_mini_batch(
    parameters: InnerParameters, learned: Learned, last_eta: Tensor, lr: Tensor, update: Update
) -> InnerParameters:
    """Take the step that ends a mini-batch."""
    with torch.autocast(lr.device.type, enabled=False):
        dtype = parameters.weights[0].dtype
        steps = (lr.to(dtype) * last_eta.to(dtype)).transpose(1, 2).unsqueeze(-1)
        return update(parameters, by_layer(learned.rows, parameters.weights), steps)


class _InnerModel(NamedTuple):
    """An inner model of S rows at a mini-batch boundary.

    Attributes:
        weights: (S, in, out), L of them.
        biases: (S, 1, out), L of them.
        ln_w: (S, 1, D).
        ln_b: (S, 1, D).
        eps: of the layer norm.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    ln_w: Tensor
    ln_b: Tensor
    eps: float

    @classmethod
    def of(
        cls, parameters: InnerParameters, ln_w: Tensor, ln_b: Tensor, eps: float
    ) -> "_InnerModel":
        """Put sequences and heads on one axis, as views where that is possible."""
        weight = parameters.weights[0]
        ln_w, ln_b = (
            x.to(weight.dtype).expand(len(weight), *x.shape).flatten(0, 1).unsqueeze(1)
            for x in (ln_w, ln_b)
        )
        weights = [w.flatten(0, 1) for w in parameters.weights]
        biases = [b.flatten(0, 1).unsqueeze(1) for b in parameters.biases]
        return cls(weights, biases, ln_w, ln_b, eps)

    def layer(self, index: int, x: Tensor) -> Tensor:
        """Apply a layer without its activation, (S, n, in) to (S, n, out)."""
        return torch.baddbmm(self.biases[index], x, self.weights[index])

    def learn(self, key: Tensor, target: Tensor, first: Tensor) -> InnerGradients:
        """Differentiate the inner loss of keys (S, n, D), given the output of the first layer."""
        inputs, outputs = [key], [first]
        for index in range(1, len(self.weights)):
            inputs.append(functional.gelu(outputs[-1], approximate="tanh"))
            outputs.append(self.layer(index, inputs[-1]))
        z, width = outputs[-1], [key.shape[-1]]
        normed, mean, inverse_std = torch.native_layer_norm(z, width, None, None, self.eps)
        upstream = torch.addcmul(self.ln_b, self.ln_w, normed).sub_(target).mul_(self.ln_w)
        gradient, _, _ = torch.ops.aten.native_layer_norm_backward(
            upstream, z, width, mean, inverse_std, None, None, [True, False, False]
        )
        gradients = [gradient]
        for weight, output in zip(reversed(self.weights[1:]), reversed(outputs[:-1]), strict=True):
            back = torch.bmm(gradients[0], weight.mT)
            gradients.insert(0, torch.ops.aten.gelu_backward(back, output, approximate="tanh"))
        return InnerGradients(inputs, gradients)

    def answer(
        self, query: Tensor, first: Tensor, learned: InnerGradients, steps: Tensor
    ) -> Tensor:
        """Answer a query (S, 1, D) after steps of -eta (S, 1, n) along the gradients of n keys."""
        x, z = query, first
        for index, (seen, gradient) in enumerate(zip(*learned, strict=True)):
            if index:
                x = functional.gelu(z, approximate="tanh")
                z = self.layer(index, x)
            attention = torch.bmm(x, seen.mT).add_(1.0).mul_(steps)
            z = torch.baddbmm(z, attention, gradient)
        normed = torch.native_layer_norm(z, z.shape[-1:], None, None, self.eps)[0]
        return torch.addcmul(self.ln_b, self.ln_w, normed).add_(query)


def _fused(q: Tensor, k: Tensor, v: Tensor, parameters: InnerParameters) -> bool:
    """Whether the Triton kernel computes this: on a GPU, or where launches are interpreted."""
    if len(parameters.weights) > 1 or "naive" not in INSTALLED:
        return False
    problem = Problem("linear", q.device.type, parameters.weights[0].dtype)
    return (
        CAPABILITIES["naive"].refusal(problem) is None
        and q.shape[3] <= LARGEST_HEAD
        and all(x.dtype in TOKEN_DTYPES for x in (q, k, v))
    )


def _check(
    q: Tensor, k: Tensor, v: Tensor, lr: Tensor, learned: Learned, mini_batch_size: int
) -> None:
    if q.shape[1] != 1 or not q.shape == k.shape == v.shape:
        raise ShapeError(
            f"`q`, `k` and `v` have shapes {tuple(q.shape)}, {tuple(k.shape)} and "
            f"{tuple(v.shape)}, expected (B, 1, H, D)"
        )
    known = learned.count
    if known != lr.shape[1] - 1 or known >= mini_batch_size:
        raise ShapeError(
            f"`lr` has shape {tuple(lr.shape)} and `learned` is of {known} open tokens, expected "
            f"(B, r + 1, H) and r of them, r < {mini_batch_size}"
        )
