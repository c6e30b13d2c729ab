"""TTT-Linear without matrix units, backward: token by token from the last, float32 throughout.

In the letters of `naive_forward`; dW, db are gradients at the end of a mini-batch. Its updates are
undone twice: G is summed up from the g that the forward pass kept, W += token_eta_{M-1} G is the
state at its start, and then the tokens leave G again, last first. R gathers the gradient at G,

    R = -token_eta_{M-1} dW - sum_{i >= j} token_eta_i q_i^T dzb_i,

so that token j gets dg_j = lr_j (k_j R + r) and dk_j = lr_j R g_j besides what flows through z_j.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.naive_forward import centered_gradient, layer_norm
from ttt_kernels.gpu.tiles import load_features, load_state, store_features, store_tile


@triton.jit
def inner_backward(
    u: tl.tensor,
    g: tl.tensor,
    x: tl.tensor,
    rstd: tl.tensor,
    target: tl.tensor,
    gamma: tl.tensor,
    beta: tl.tensor,
    columns: tl.tensor,
    dim: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Second derivative of 0.5 ||LN(z) - target||^2: what a gradient u at g = dloss/dz does.

    Args:
        u: gradient at g, (D,).
        g: the gradient of the inner loss at z, (D,).
        x: the normalized z, (D,).
        rstd: 1 / sqrt(var + eps) of z.
        target: v - k, (D,).
        gamma: weight of the layer norm, (D,).
        beta: its bias, (D,).
        columns: indices, (D,).
        dim: features that are not padding, constexpr.

    Returns:
        Gradients at z, at LN(z) - target, and at gamma, (D,) each.
    """
    e = gamma * x + beta - target
    mean_ux = tl.sum(u * x, 0) / dim
    mean_ax = tl.sum(e * gamma * x, 0) / dim
    da = tl.where(columns < dim, (u - tl.sum(u, 0) / dim - x * mean_ux) * rstd, 0.0)
    de = da * gamma
    dx = de * gamma - rstd * (u * mean_ax + e * gamma * mean_ux)
    dz = centered_gradient(dx, x, rstd, columns, dim) - x * (rstd * tl.sum(u * g, 0) / dim)
    return dz, de, da * e + de * x


@triton.jit
def naive_backward(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    lr: tl.tensor,
    token_eta: tl.tensor,
    ln_w: tl.tensor,
    ln_b: tl.tensor,
    kept: tl.tensor,
    d_out: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    d_weight: tl.tensor,
    d_bias: tl.tensor,
    d_token_eta: tl.tensor,
    d_ln_w: tl.tensor,
    d_ln_b: tl.tensor,
    dq: tl.tensor,
    dk: tl.tensor,
    dv: tl.tensor,
    d_lr: tl.tensor,
    tokens: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
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
    d_lr_b: tl.tensor,
    d_lr_t: tl.tensor,
    M: tl.constexpr,
    D: tl.constexpr,
    M_PAD: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    """Walk over all tokens of one sequence and head; arguments as `tile_backward`."""
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    rows, columns = tl.arange(0, M_PAD), tl.arange(0, D_PAD)
    gamma = load_features(ln_w + head * D, columns, D)
    beta = load_features(ln_b + head * D, columns, D)
    weight += program * D * D
    bias += program * D
    d_weight += program * D * D
    d_bias += program * D
    d_ln_w += program * D
    d_ln_b += program * D
    d_token_eta += program * M
    W, b = load_state(weight, columns, D), load_features(bias, columns, D)
    dW, db = load_state(d_weight, columns, D), load_features(d_bias, columns, D)
    dgamma, dbeta = load_features(d_ln_w, columns, D), load_features(d_ln_b, columns, D)
    last_eta = tl.load(token_eta + M - 1)
    detas = tl.load(d_token_eta + rows, mask=rows < M, other=0.0)
    q += batch * q_b + head * q_h
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    lr += batch * lr_b + head * lr_h
    d_lr += batch * d_lr_b + head
    at_head = batch * out_b + head * D
    mini_batches = tl.cdiv(tokens, M)
    for step in range(mini_batches):
        first = (mini_batches - 1 - step) * M
        count = tl.minimum(M, tokens - first)
        G = tl.zeros([D_PAD, D_PAD], tl.float32)
        G_b = tl.zeros([D_PAD], tl.float32)
        for j in range(count):
            at = first + j
            g = load_features(kept + at_head + at * out_t, columns, D)
            learned = tl.load(lr + at * lr_t) * g
            G += load_features(k + at * k_t, columns, D)[:, None] * learned[None, :]
            G_b += learned
        complete = 1.0 if count == M else 0.0
        W += complete * last_eta * G
        b += complete * last_eta * G_b
        R, r = -complete * last_eta * dW, -complete * last_eta * db
        d_last_eta = complete * (tl.sum(tl.sum(G * dW, 0), 0) + tl.sum(G_b * db, 0))
        detas -= tl.where(rows == M - 1, d_last_eta, 0.0)
        for ahead in range(count):
            i = count - 1 - ahead
            at = first + i
            here = at_head + at * out_t
            eta = tl.load(token_eta + i)
            rate = tl.load(lr + at * lr_t)
            xq = load_features(q + at * q_t, columns, D)
            xk = load_features(k + at * k_t, columns, D)
            xv = load_features(v + at * v_t, columns, D)
            g = load_features(kept + here, columns, D)
            dy = load_features(d_out + here, columns, D)

            # the output layer norm
            taken, taken_b = tl.sum(xq[:, None] * G, 0), G_b
            zb = tl.sum(xq[:, None] * W, 0) + b - eta * (taken + taken_b)
            x, rstd = layer_norm(zb, columns, D, eps)
            dzb = centered_gradient(dy * gamma, x, rstd, columns, D)
            dgamma += dy * x
            dbeta += dy
            store_features(dq + here, dy + tl.sum((W - eta * G) * dzb[None, :], 1), columns, D)
            detas -= tl.where(rows == i, tl.sum((taken + taken_b) * dzb, 0), 0.0)
            dW += xq[:, None] * dzb[None, :]
            db += dzb
            R -= eta * xq[:, None] * dzb[None, :]
            r -= eta * dzb

            # the inner layer norm and loss
            h = tl.sum(xk[:, None] * R, 0) + r
            tl.store(d_lr + at * d_lr_t, tl.sum(h * g, 0))
            x, rstd = layer_norm(tl.sum(xk[:, None] * W, 0) + b, columns, D, eps)
            dz, de, to_gamma = inner_backward(
                rate * h, g, x, rstd, xv - xk, gamma, beta, columns, D
            )
            dgamma += to_gamma
            dbeta += de
            d_key = de + tl.sum(W * dz[None, :] + rate * R * g[None, :], 1)
            store_features(dk + here, d_key, columns, D)
            store_features(dv + here, -de, columns, D)
            dW += xk[:, None] * dz[None, :]
            db += dz
            G -= xk[:, None] * (rate * g)[None, :]
            G_b -= rate * g
    store_tile(weight, W, columns, columns, D, D, D)
    store_features(bias, b, columns, D)
    store_tile(d_weight, dW, columns, columns, D, D, D)
    store_features(d_bias, db, columns, D)
    store_features(d_ln_w, dgamma, columns, D)
    store_features(d_ln_b, dbeta, columns, D)
    tl.store(d_token_eta + rows, detas, mask=rows < M)
