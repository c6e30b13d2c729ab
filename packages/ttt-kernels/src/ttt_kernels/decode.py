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

from ttt_kernels.capability import CAPABILITIES, Problem, kind_of
from ttt_kernels.dispatch import INSTALLED
from ttt_kernels.gpu.kernel import LARGEST_HEAD, TOKEN_DTYPES
from ttt_kernels.learned import Learned, by_layer, side_by_side
from ttt_kernels.next_token import NextToken
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
        ShapeError: there is more than one token, or arguments do not belong together.
    """
    token = NextToken(q, k, v, token_eta, lr, parameters, learned, ln_w, ln_b, eps)
    token.check()
    descends = isinstance(update, SGDUpdate)
    if descends and _runs("naive", token):
        from ttt_kernels.gpu import decode  # imports Triton

        return decode.answer(token)
    compiled = not torch.compiler.is_compiling() and _runs("cpu", token)
    if compiled:
        from ttt_kernels.cpu import decode  # imports the compiler

        descends &= token.complete
        output, parameters, now = decode.decode_step(token, descend=descends)
    else:
        output, now = _decode_step(token)
    if not token.complete:
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
        return Learned.nothing(k.shape[0], k.shape[2], weights)
    with torch.autocast(k.device.type, enabled=False):
        keys, values = (x.to(dtype).transpose(1, 2) for x in (k, v))
        ln_w, ln_b = (x.to(dtype).unsqueeze(-2) for x in (ln_w, ln_b))
        gradients = inner_gradients(keys, values - keys, weights, biases, ln_w, ln_b, eps)
    return Learned.of(side_by_side(gradients))


def _decode_step(token: NextToken) -> tuple[Tensor, Learned]:
    """`decode_step` by torch, but for the step that ends a mini-batch: output and `learned`."""
    q, k, v, token_eta, lr, parameters, learned, ln_w, ln_b, eps = token
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


def _runs(kernel: str, token: NextToken) -> bool:
    """Whether the Triton kernel, by the name `naive`, or the compiled code `cpu` can decode."""
    if kernel not in INSTALLED:
        return False
    weights, q = token.parameters.weights, token.q
    if kernel == "naive" and (
        len(weights) > 1
        or q.shape[3] > LARGEST_HEAD
        or any(x.dtype not in TOKEN_DTYPES for x in (q, token.k, token.v))
    ):
        return False
    problem = Problem(kind_of(len(weights), adam=False), q.device.type, weights[0].dtype)
    return CAPABILITIES[kernel].refusal(problem) is None
