"""The entry points: one function per family of inner models, whichever kernel computes it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ttt_kernels.checks import check_inputs
from ttt_kernels.dispatch import choose_kernel
from ttt_kernels.errors import ShapeError
from ttt_kernels.operators import OperatorArguments, OperatorResult, run


def ttt_linear(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    W0: Tensor,
    b0: Tensor,
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    mini_batch_size: int,
    eps: float = 1e-6,
    kernel: str = "auto",
    checkpoint_interval: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """TTT-Linear (arXiv 2407.04620, section 2.7): the state is one matrix and bias per head.

    Each token i of a mini-batch is answered by o_i = q_i + LN(q_i W_i + b_i) with
    W_i = W - token_eta_i * sum_{j <= i} lr_j k_j^T g_j and g_j the gradient of
    0.5 ||LN(k_j W + b) - (v_j - k_j)||^2 at its output; a complete mini-batch ends in W = W_M.

    Args:
        q: queries, (B, T, H, D), any float dtype, any strides.
        k: keys, like `q`.
        v: values, like `q`.
        token_eta: step size by position in the mini-batch, (mini_batch_size,).
        lr: learned step size of each token, (B, T, H). The step of key j for query i is
            token_eta[i] * lr[j].
        W0: initial weight, (H, D, D) shared by the batch or (B, H, D, D) one per sequence.
        b0: initial bias, (H, D) or (B, H, D).
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: bias of the inner layer norm, (H, D).
        mini_batch_size: tokens per inner update, M.
        eps: added to the variance of the inner layer norm.
        kernel: a name of `available_kernels()`; "auto", the fastest that can; or "auto:NAME", which
            is NAME where that can and "auto" elsewhere.
        checkpoint_interval: mini-batches between stored states; the backward pass recomputes what
            lies between. None leaves it to the kernel.

    Returns:
        Output (B, T, H, D) in the dtype of `q`, and the state after the last complete
        mini-batch, weight (B, H, D, D) and bias (B, H, D), in float32 (float64 if `W0` is). The
        remainder of T mod M tokens is answered in the output only. All three carry gradients to
        every argument.

    Raises:
        ShapeError: an argument has the wrong shape, dtype or device; the message names it.
        KernelUnavailableError: `kernel` cannot run here.
    """
    result = _run(
        "linear",
        *(q, k, v, token_eta, lr, (W0,), (b0,), ln_w, ln_b),
        mini_batch_size=mini_batch_size,
        eps=eps,
        kernel=kernel,
        checkpoint_interval=checkpoint_interval,
    )
    return result.output, result.weights[0], result.biases[0]


def ttt_mlp(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    mini_batch_size: int,
    eps: float = 1e-6,
    kernel: str = "auto",
    checkpoint_interval: int | None = None,
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """TTT-MLP with any number of layers and widths, GELU (tanh form) between them.

    Arguments as `ttt_linear`, except:

    Args:
        q: (B, T, H, D).
        k: (B, T, H, D).
        v: (B, T, H, D).
        token_eta: (mini_batch_size,).
        lr: (B, T, H).
        weights: per layer (H, in, out) or (B, H, in, out); widths chain from D back to D.
        biases: per layer (H, out) or (B, H, out).
        ln_w: (H, D).
        ln_b: (H, D).
        mini_batch_size: M.
        eps: of the inner layer norm.
        kernel: a name of `available_kernels()`, or "auto".
        checkpoint_interval: mini-batches between stored states.

    Returns:
        Output (B, T, H, D), and weights (B, H, in, out) and biases (B, H, out) after the last
        complete mini-batch.

    Raises:
        ShapeError: an argument has the wrong shape, dtype or device; the message names it.
        KernelUnavailableError: `kernel` cannot run here.
    """
    result = _run(
        "mlp",
        *(q, k, v, token_eta, lr, weights, biases, ln_w, ln_b),
        mini_batch_size=mini_batch_size,
        eps=eps,
        kernel=kernel,
        checkpoint_interval=checkpoint_interval,
    )
    return result.output, tuple(result.weights), tuple(result.biases)


def ttt_linear_adam(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    W0: Tensor,
    b0: Tensor,
    ln_w: Tensor,
    ln_b: Tensor,
    m0: tuple[Tensor, Tensor],
    v0: tuple[Tensor, Tensor],
    step: int,
    *,
    beta1: float,
    beta2: float,
    adam_lr: float,
    mini_batch_size: int,
    eps: float = 1e-6,
    kernel: str = "auto",
    checkpoint_interval: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """TTT-Linear whose state is carried over mini-batch boundaries by Adam.

    Inside a mini-batch the outputs are those of `ttt_linear`; at its end the eta-weighted gradients
    sum_j eta[M-1, j] k_j^T g_j enter Adam as constants (no outer gradient flows through the step).

    Args:
        q: (B, T, H, D).
        k: (B, T, H, D).
        v: (B, T, H, D).
        token_eta: (mini_batch_size,).
        lr: (B, T, H).
        W0: (H, D, D) or (B, H, D, D).
        b0: (H, D) or (B, H, D).
        ln_w: (H, D).
        ln_b: (H, D).
        m0: first moments of weight and bias, shaped like the state: (B, H, D, D) and (B, H, D).
        v0: second moments, like `m0`.
        step: Adam updates made so far.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        adam_lr: step size of Adam.
        mini_batch_size: M.
        eps: of the inner layer norm.
        kernel: a name of `available_kernels()`, or "auto".
        checkpoint_interval: mini-batches between stored states.

    Returns:
        Output, weight, bias, first moments, second moments; the step count grows by T // M.

    Raises:
        ShapeError: an argument has the wrong shape, dtype or device; the message names it.
        KernelUnavailableError: `kernel` cannot run here.
    """
    batch, _, heads, dim = q.shape
    for name, (weight, bias) in {"m0": m0, "v0": v0}.items():
        for tensor, shape in ((weight, (batch, heads, dim, dim)), (bias, (batch, heads, dim))):
            if tuple(tensor.shape) != shape:
                raise ShapeError(f"`{name}` has shape {tuple(tensor.shape)}, expected {shape}")
    result = _run(
        "linear_adam",
        *(q, k, v, token_eta, lr, (W0,), (b0,), ln_w, ln_b),
        moments=(*m0, *v0),
        step=step,
        adam=(adam_lr, beta1, beta2),
        mini_batch_size=mini_batch_size,
        eps=eps,
        kernel=kernel,
        checkpoint_interval=checkpoint_interval,
    )
    first_weight, first_bias, second_weight, second_bias = result.moments
    return (
        *(result.output, result.weights[0], result.biases[0]),
        (first_weight, first_bias),
        (second_weight, second_bias),
    )


def _run(
    family: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    token_eta: Tensor,
    lr: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    ln_w: Tensor,
    ln_b: Tensor,
    *,
    mini_batch_size: int,
    eps: float,
    kernel: str,
    checkpoint_interval: int | None,
    moments: Sequence[Tensor] = (),
    step: int = 0,
    adam: Sequence[float] = (),
) -> OperatorResult:
    """Check the arguments, cast them to the state's dtype, choose the kernel and run it."""
    check_inputs(
        *(q, k, v, token_eta, lr, weights, biases, ln_w, ln_b), mini_batch_size=mini_batch_size
    )
    if checkpoint_interval is not None and checkpoint_interval < 1:
        raise ShapeError(f"`checkpoint_interval` is {checkpoint_interval}, expected at least 1")
    exact = any(w.dtype == torch.float64 for w in weights)
    dtype = torch.float64 if exact else torch.float32
    arguments = OperatorArguments(
        *(q, k, v, token_eta.to(dtype), lr.to(dtype)),
        [w.to(dtype) for w in weights],
        [b.to(dtype) for b in biases],
        *(ln_w.to(dtype), ln_b.to(dtype), [m.to(dtype) for m in moments]),
        *(step, list(adam), mini_batch_size, eps, checkpoint_interval, "reference"),
    )
    choice = choose_kernel(kernel, loop=arguments.loop())
    differentiable = (q, k, v, token_eta, lr, *weights, *biases, ln_w, ln_b)
    save = torch.is_grad_enabled() and any(x.requires_grad for x in differentiable)
    return run(family, arguments._replace(kernel=choice.kernel), save=save)
