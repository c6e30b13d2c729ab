"""TTT-Linear without matrix units, forward: token by token, float32 throughout, any D and M.

The primal form (arXiv 2407.04620, section 2.4). W stands for the state at the start of a mini-batch
and G for what its tokens so far would take off it, per token_eta:

    g_i = gradient at z = k_i W + b of 0.5 ||LN(z) - (v_i - k_i)||^2
    G += lr_i k_i^T g_i,  out_i = q_i + LN(q_i (W - token_eta_i G) + ...)

and W -= token_eta_{M-1} G ends it; the bias goes the same way, a constant feature in place of k. It
does about three times the work of the dual form, and none of it needs padding to a tile.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.tiles import load_features, load_state, store_features, store_tile


@triton.jit
def layer_norm(
    z: tl.tensor, columns: tl.tensor, dim: tl.constexpr, eps: tl.tensor
) -> tuple[tl.tensor, ...]:
    """X = (z - mean) / sqrt(var + eps) of one vector, padded features zero, and 1 / sqrt(...)."""
    z = tl.where(columns < dim, z - tl.sum(z, 0) / dim, 0.0)
    rstd = tl.rsqrt(tl.sum(z * z, 0) / dim + eps)
    return z * rstd, rstd


@triton.jit
def centered_gradient(
    a: tl.tensor, x: tl.tensor, rstd: tl.tensor, columns: tl.tensor, dim: tl.constexpr
) -> tl.tensor:
    """Gradient of a layer norm at its input, a being that at x: (a - mean a - x mean(a x)) rstd."""
    g = (a - tl.sum(a, 0) / dim - x * (tl.sum(a * x, 0) / dim)) * rstd
    return tl.where(columns < dim, g, 0.0)


@triton.jit
def naive_forward(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    lr: tl.tensor,
    token_eta: tl.tensor,
    ln_w: tl.tensor,
    ln_b: tl.tensor,
    start_weight: tl.tensor,
    start_bias: tl.tensor,
    out: tl.tensor,
    kept: tl.tensor,
    end_weight: tl.tensor,
    end_bias: tl.tensor,
    tokens: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
    weight_b: tl.tensor,
    bias_b: tl.tensor,
    q_b: tl.tensor,
    q_t: tl.tensor,
    q_h: tl.tensor,
    k_b: tl.tensor,
    k_t: tl.tensor,
    k_h: tl.tensor,
    v_b: tl.tensor,
    v_t: tl.tensor,
    v_h: tl.tensor,
    lr_b: tl.tensor,
    lr_t: tl.tensor,
    lr_h: tl.tensor,
    out_b: tl.tensor,
    out_t: tl.tensor,
    M: tl.constexpr,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
    ANSWER: tl.constexpr,
    KEEP: tl.constexpr,
) -> None:
    """Read all tokens of one sequence and head; arguments as `tile_forward`."""
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    columns = tl.arange(0, D_PAD)
    gamma = load_features(ln_w + head * D, columns, D)
    beta = load_features(ln_b + head * D, columns, D)
    W = load_state(start_weight + batch * weight_b + head * D * D, columns, D)
    b = load_features(start_bias + batch * bias_b + head * D, columns, D)
    q += batch * q_b + head * q_h
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    lr += batch * lr_b + head * lr_h
    out += batch * out_b + head * D
    kept += batch * out_b + head * D
    for first in range(0, tokens, M):
        count = tl.minimum(M, tokens - first)
        G = tl.zeros([D_PAD, D_PAD], tl.float32)
        G_b = tl.zeros([D_PAD], tl.float32)
        for i in range(count):
            at = first + i
            xk = load_features(k + at * k_t, columns, D)
            xv = load_features(v + at * v_t, columns, D)
            x, rstd = layer_norm(tl.sum(xk[:, None] * W, 0) + b, columns, D, eps)
            a = (gamma * x + beta - (xv - xk)) * gamma
            g = centered_gradient(a, x, rstd, columns, D)
            learned = tl.load(lr + at * lr_t) * g
            G += xk[:, None] * learned[None, :]
            G_b += learned
            if KEEP:
                store_features(kept + at * out_t, g, columns, D)
            if ANSWER:
                eta = tl.load(token_eta + i)
                xq = load_features(q + at * q_t, columns, D)
                zb = tl.sum(xq[:, None] * (W - eta * G), 0) + b - eta * G_b
                x, _ = layer_norm(zb, columns, D, eps)
                store_features(out + at * out_t, xq + gamma * x + beta, columns, D)
        if count == M:
            last_eta = tl.load(token_eta + M - 1)
            W -= last_eta * G
            b -= last_eta * G_b
    store_tile(end_weight + program * D * D, W, columns, columns, D, D, D)
    store_features(end_bias + program * D, b, columns, D)
