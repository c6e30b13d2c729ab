"""TTT-Linear without matrix units, backward: token by token from the last, float32 throughout.

In the letters of `naive_forward`; dW, db are gradients at the end of a mini-batch. Its updates are
undone twice: G is summed up from the g that the forward pass kept, W += token_eta_{M-1} G is the
state at its start, and then the tokens leave G again, last first. R gathers the gradient at G,

    R = -token_eta_{M-1} dW - sum_{i >= j} token_eta_i q_i^T dzb_i,

so that token j gets dg_j = lr_j (k_j R + r) and dk_j = lr_j R g_j besides what flows through z_j.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.arguments import Gradients, Inputs, State, first_tokens
from ttt_kernels.gpu.normalization import (
    centered_gradient,
    layer_norm,
    token_inner_gradient_backward,
)
from ttt_kernels.gpu.tiles import (
    load_features,
    load_model,
    load_norm,
    store_features,
    store_model,
    store_norm,
)


@triton.jit(do_not_specialize=["tokens", "lr_b"])  # a new length is no new kernel
def naive_backward(
    inputs: Inputs,
    lr: tl.tensor,
    kept: tl.tensor,
    d_out: tl.tensor,
    state: State,
    gradients: Gradients,
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
    M_PAD: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    """Walk over all tokens of one sequence and head; arguments as `tile_backward`."""
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    rows, columns = tl.arange(0, M_PAD), tl.arange(0, D_PAD)
    gamma, beta = load_norm(inputs, head, columns, D)
    W, b = load_model(state, program, columns, D)
    dW, db = load_model(gradients.state, program, columns, D)
    dgamma, dbeta = load_norm(gradients, program, columns, D)
    token_eta, d_token_eta = inputs.token_eta, gradients.token_eta + program * M
    last_eta = tl.load(token_eta + M - 1)
    detas = tl.load(d_token_eta + rows, mask=rows < M, other=0.0)
    q, k, v = first_tokens(inputs, batch, head)
    q_t, k_t, v_t = inputs.q.token, inputs.k.token, inputs.v.token
    lr += batch * lr_b + head * lr_h
    at_head = batch * out_b + head * D
    d_lr = gradients.lr + at_head // D
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
            store_features(
                gradients.q + here, dy + tl.sum((W - eta * G) * dzb[None, :], 1), columns, D
            )
            detas -= tl.where(rows == i, tl.sum((taken + taken_b) * dzb, 0), 0.0)
            dW += xq[:, None] * dzb[None, :]
            db += dzb
            R -= eta * xq[:, None] * dzb[None, :]
            r -= eta * dzb

            # the inner layer norm and loss
            h = tl.sum(xk[:, None] * R, 0) + r
            tl.store(d_lr + at * heads, tl.sum(h * g, 0))
            x, rstd = layer_norm(tl.sum(xk[:, None] * W, 0) + b, columns, D, eps)
            dz, de, to_gamma = token_inner_gradient_backward(
                rate * h, g, x, rstd, xv - xk, gamma, beta, columns, D
            )
            dgamma += to_gamma
            dbeta += de
            d_key = de + tl.sum(W * dz[None, :] + rate * R * g[None, :], 1)
            store_features(gradients.k + here, d_key, columns, D)
            store_features(gradients.v + here, -de, columns, D)
            dW += xk[:, None] * dz[None, :]
            db += dz
            G -= xk[:, None] * (rate * g)[None, :]
            G_b -= rate * g
    store_model(state, program, W, b, columns, D)
    store_model(gradients.state, program, dW, db, columns, D)
    store_norm(gradients, program, dgamma, dbeta, columns, D)
    tl.store(d_token_eta + rows, detas, mask=rows < M)
