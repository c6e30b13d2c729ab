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

from ttt_kernels.gpu.arguments import Inputs, Start, State, first_tokens
from ttt_kernels.gpu.normalization import layer_norm, token_inner_gradient
from ttt_kernels.gpu.tiles import load_features, load_model, load_norm, store_features, store_model


@triton.jit(do_not_specialize=["tokens", "lr_b"])  # a new length is no new kernel
def naive_forward(
    inputs: Inputs,
    lr: tl.tensor,
    start: Start,
    out: tl.tensor,
    kept: tl.tensor,
    end: State,
    tokens: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
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
    gamma, beta = load_norm(inputs, head, columns, D)
    W, b = load_model(start.state, program % start.count, columns, D)
    q, k, v = first_tokens(inputs, batch, head)
    lr += batch * lr_b + head * lr_h
    out += batch * out_b + head * D
    kept += batch * out_b + head * D
    for first in range(0, tokens, M):
        count = tl.minimum(M, tokens - first)
        G = tl.zeros([D_PAD, D_PAD], tl.float32)
        G_b = tl.zeros([D_PAD], tl.float32)
        for i in range(count):
            at = first + i
            xk = load_features(k + at * inputs.k.token, columns, D)
            xv = load_features(v + at * inputs.v.token, columns, D)
            z = tl.sum(xk[:, None] * W, 0) + b
            g = token_inner_gradient(z, xv - xk, gamma, beta, columns, D, eps)
            learned = tl.load(lr + at * lr_t) * g
            G += xk[:, None] * learned[None, :]
            G_b += learned
            if KEEP:
                store_features(kept + at * out_t, g, columns, D)
            if ANSWER:
                eta = tl.load(inputs.token_eta + i)
                xq = load_features(q + at * inputs.q.token, columns, D)
                zb = tl.sum(xq[:, None] * (W - eta * G), 0) + b - eta * G_b
                x, _ = layer_norm(zb, columns, D, eps)
                store_features(out + at * out_t, xq + gamma * x + beta, columns, D)
        if count == M:
            last_eta = tl.load(inputs.token_eta + M - 1)
            W -= last_eta * G
            b -= last_eta * G_b
    store_model(end, program, W, b, columns, D)
