"""TTT-Linear with matrix units, forward: one program per sequence and head reads all mini-batches.

The dual form (arXiv 2407.04620, section 2.5), with the bias as the weight of a constant feature:

    g  = gradient at z = k W + b of 0.5 ||LN(z) - (v - k)||^2
    zb = q W + b - P g,         P = eta * (1 + q k^T), eta[i, j] = token_eta_i lr_j for j <= i
    out = q + LN(zb),           W -= k^T (c g), b -= sum_j c_j g_j, c_j = token_eta_{M-1} lr_j

A mini-batch of more than 16 tokens is read in tiles of 16. What the earlier tiles have learned
waits in G = sum_j k_j^T lr_j g_j, and P g then runs over the own tile only:

    zb = q W + b - P g - token_eta (q G + sum_j lr_j g_j),    W -= token_eta_{M-1} G at the end

Tokens lie in rows and the warps of a program share the columns, so a sum over features is mostly
within a thread. Triton takes that split from the last product of the loop if it has fewer rows than
columns: the products with the state come first. The state is float32; products take operands in the
dtype of the tokens.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.tiles import (
    centered,
    load_features,
    load_state,
    load_tile,
    masked_rates,
    normalized,
    row_mean,
    store_tile,
    sum_of_two,
    tile_at,
    tile_count,
    without_padding,
)


@triton.jit
def inner_gradient(
    z: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
    eps: tl.tensor,
) -> tl.tensor:
    """Gradient of 0.5 ||LN(z) - target||^2 at z, (M, D), for a z without mean.

    Args:
        z: (M, D).
        target: v - k, (M, D).
        gamma: weight of the layer norm, (D,), zero where padded.
        beta: bias of the layer norm, (D,).
        columns: indices of the features, (D,).
        dim: features that are not padding, constexpr.
        eps: added to the variance.
    """
    x, rstd = normalized(z, dim, eps)
    a = (gamma[None, :] * x + beta[None, :] - target) * gamma[None, :]
    sum_a, sum_ax = tl.reduce((a, a * x), 1, sum_of_two)
    g = (a - (sum_a / dim)[:, None] - x * (sum_ax / dim)[:, None]) * rstd[:, None]
    return without_padding(g, columns, dim)


@triton.jit
def tile_forward(
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
    ROWS: tl.constexpr,
    D_PAD: tl.constexpr,
    ANSWER: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Read all tokens of one sequence and head.

    Tensors:
        q: queries, (B, T, H, D) by the strides q_b, q_t, q_h and 1.
        k: keys.
        v: values.
        lr: learned step sizes, (B, T, H) by strides.
        token_eta: (M,).
        ln_w: (H, D).
        ln_b: (H, D).
        start_weight: (H, D, D), or (B, H, D, D) with a batch stride.
        start_bias: (H, D) or (B, H, D).
        out: (B, T, H, D) by out_b, out_t, D and 1; written if ANSWER.
        kept: g in the dtype and layout of `out`, for the backward pass; written if KEEP.
        end_weight: the state after the last complete mini-batch, (B, H, D, D).
        end_bias: (B, H, D).
    """
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    several: tl.constexpr = M > ROWS
    rows, columns = tl.arange(0, ROWS), tl.arange(0, D_PAD)
    operand = q.dtype.element_ty
    gamma, beta = (
        load_features(ln_w + head * D, columns, D),
        load_features(ln_b + head * D, columns, D),
    )
    etas = tl.load(token_eta + rows, mask=rows < M, other=0.0)
    last_eta = tl.load(token_eta + M - 1)
    start_weight += batch * weight_b + head * D * D
    start_bias += batch * bias_b + head * D
    W, b = centered(
        load_state(start_weight, columns, D), load_features(start_bias, columns, D), columns, D
    )
    q += batch * q_b + head * q_h
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    lr += batch * lr_b + head * lr_h
    out += batch * out_b + head * D
    kept += batch * out_b + head * D
    if several:
        G, G_b = tl.zeros([D_PAD, D_PAD], tl.float32), tl.zeros([D_PAD], tl.float32)
    for tile in tl.range(0, tile_count(tokens, M, ROWS), disable_licm=True):
        # offsets of 32 bits: whoever launches sees to it that a launch has no more tokens
        first, position, count, complete = tile_at(tile, tokens, M, ROWS)
        xk = load_tile(k + first * k_t, rows, columns, k_t, count, D).to(operand)
        xv = load_tile(v + first * v_t, rows, columns, v_t, count, D)
        rates = tl.load(lr + first * lr_t + rows * lr_t, mask=rows < count, other=0.0)
        Wo, bo = W.to(operand), b  # what all tokens of the mini-batch see
        z = tl.dot(xk, Wo, input_precision=PRECISION) + bo[None, :]
        target = xv.to(tl.float32) - xk.to(tl.float32)
        go = inner_gradient(z, target, gamma, beta, columns, D, eps).to(operand)
        # what learns from g sees it rounded, so that the backward pass can undo it exactly
        steps = rates if several else rates * (last_eta if complete else 0.0)
        learned = (steps[:, None] * go.to(tl.float32)).to(operand)
        if several:
            etas = tl.load(token_eta + position + rows, mask=rows < count, other=0.0)
            Go, Go_b = G.to(operand), G_b
            G += tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
            G_b += tl.sum(learned.to(tl.float32), 0)
            if complete and position + ROWS >= M:
                W -= last_eta * G
                b -= last_eta * G_b
                G, G_b = tl.zeros_like(G), tl.zeros_like(G_b)
        else:
            W -= tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
            b -= tl.sum(learned.to(tl.float32), 0)
        if KEEP:
            store_tile(kept + first * out_t, go, rows, columns, out_t, count, D)
        if ANSWER:
            xq = load_tile(q + first * q_t, rows, columns, q_t, count, D)
            zb = tl.dot(xq, Wo, input_precision=PRECISION) + bo[None, :]
            if several:
                taken = tl.dot(xq, Go, input_precision=PRECISION) + Go_b[None, :]
                zb -= etas[:, None] * taken
            scores = tl.dot(xq, tl.trans(xk), input_precision=PRECISION)
            P = masked_rates(etas, rates) * (1.0 + scores)
            zb -= tl.dot(P.to(operand), go, input_precision=PRECISION)
            x, _ = normalized(zb, D, eps)
            answer = xq.to(tl.float32) + gamma[None, :] * x + beta[None, :]
            store_tile(out + first * out_t, answer, rows, columns, out_t, count, D)
    # the mean over outputs, which nothing has changed
    W += row_mean(load_state(start_weight, columns, D), D)[:, None]
    b += tl.sum(load_features(start_bias, columns, D), 0) / D
    store_tile(end_weight + program * D * D, W, columns, columns, D, D, D)
    tl.store(end_bias + program * D + columns, b, mask=columns < D)
