"""TTT-Linear with matrix units, backward: one program per sequence and head, last mini-batch first.

The forward pass keeps g, so the states need not be stored: W_i = W_{i+1} + k^T (c g) undoes an
update with the very numbers that made it. Per mini-batch, in the letters of `tile_forward` and with
dW, db the gradients at the end of the mini-batch:

    output      dzb = gradient of LN at zb;  dq = d_out + dzb W^T + dA k
    dual form   dP = -tril(dzb g^T), dA = dP * eta, deta = dP * (1 + q k^T)
    g           u = dg = -P^T dzb - c * h, h = k dW + db;  dc_j = -h_j . g_j
    inner       dz, dgamma, dbeta, d(v - k) from u: the second derivative of the inner loss
    sums        dk = dA^T q + dz W^T - (c g) dW^T - d(v - k);  dW += q^T dzb + k^T dz

In a mini-batch of several tiles, G waits as in the forward pass, and dG, the gradient that reaches
an update through what comes after it, stands where dW does above; it starts as token_eta_{M-1} dW.

Three choices keep all of it in the registers of four warps at D = 64. dW is held transposed, so
that tiles made here are transposed on their way through shared memory, not the loaded q and k.
Addresses are computed anew in each round (`disable_licm`): hoisted, they alone would fill the
registers. And dq is finished before the inner layer norm begins.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.arguments import Gradients, Inputs, State, first_tokens
from ttt_kernels.gpu.normalization import answer_backward, inner_gradient_backward, normalized
from ttt_kernels.gpu.tile_forward import answers
from ttt_kernels.gpu.tiles import (
    add_in_place,
    load_model,
    load_norm,
    load_tile,
    lower_triangle,
    masked_rates,
    store_model,
    store_norm,
    store_tile,
    tile_at,
    tile_end,
)


@triton.jit
def waiting_updates(
    k: tl.tensor,
    kept: tl.tensor,
    lr: tl.tensor,
    k_t: tl.tensor,
    kept_t: tl.tensor,
    lr_t: tl.tensor,
    start: tl.tensor,
    count: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    ROWS: tl.constexpr,
    D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Sum k_j^T lr_j g_j and lr_j g_j over `count` tokens, to the bits of the forward pass."""
    G = tl.zeros([columns.shape[0], columns.shape[0]], tl.float32)
    G_b = tl.zeros([columns.shape[0]], tl.float32)
    for first in tl.range(start, start + count, ROWS):
        left = tl.minimum(ROWS, start + count - first)
        go = load_tile(kept + first * kept_t, rows, columns, kept_t, left, D)
        xk = load_tile(k + first * k_t, rows, columns, k_t, left, D).to(go.dtype)
        rates = tl.load(lr + first * lr_t + rows * lr_t, mask=rows < left, other=0.0)
        learned = (rates[:, None] * go.to(tl.float32)).to(go.dtype)
        G += tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
        G_b += tl.sum(learned.to(tl.float32), 0)
    return G, G_b


@triton.jit(do_not_specialize=["tokens", "lr_b"])  # a new length is no new kernel
def tile_backward(
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
    ROWS: tl.constexpr,
    D_PAD: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Walk over all tokens of one sequence and head, from the last to the first.

    `state` is that at the end, without the mean that `load_centered` takes off, and becomes that at
    the start. `d_out`, the gradient of the output, and `kept` lie in memory as the gradients do.
    All else is as for `tile_forward`.
    """
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    several: tl.constexpr = M > ROWS
    rows, columns = tl.arange(0, ROWS), tl.arange(0, D_PAD)
    operand = inputs.q.pointer.dtype.element_ty
    gamma, beta = load_norm(inputs, head, columns, D)
    token_eta, d_token_eta = inputs.token_eta, gradients.token_eta + program * M
    etas = tl.load(token_eta + rows, mask=rows < M, other=0.0)
    last_eta = tl.load(token_eta + M - 1)
    W, b = load_model(state, program, columns, D)
    dS, db = load_model(gradients.state, program, columns, D)
    dS = tl.trans(dS)
    dgamma, dbeta = load_norm(gradients, program, columns, D)
    detas = tl.load(d_token_eta + rows, mask=rows < M, other=0.0)
    q, k, v = first_tokens(inputs, batch, head)
    q_t, k_t, v_t = inputs.q.token, inputs.k.token, inputs.v.token
    lr += batch * lr_b + head * lr_h
    at_head = batch * out_b + head * D
    d_lr = gradients.lr + at_head // D
    STEP: tl.constexpr = 1 if several else M
    end = tile_end(tokens, M, ROWS)
    last = (end - 1) // STEP * STEP
    if several:
        G, G_b = tl.zeros([D_PAD, D_PAD], tl.float32), tl.zeros([D_PAD], tl.float32)
        dG, dG_b, d_last_eta = tl.zeros_like(G), tl.zeros_like(G_b), 0.0
    for step in tl.range(0, end, STEP, disable_licm=True):
        # offsets of 32 bits: whoever launches sees to it that a launch has no more tokens
        first, position, count, complete = tile_at(last - step, tokens, M, ROWS)
        here = at_head + first * out_t
        xk = load_tile(k + first * k_t, rows, columns, k_t, count, D).to(operand)
        xq = load_tile(q + first * q_t, rows, columns, q_t, count, D).to(operand)
        go = load_tile(kept + here, rows, columns, out_t, count, D)
        rates = tl.load(lr + first * lr_t + rows * lr_t, mask=rows < count, other=0.0)
        g = go.to(tl.float32)

        # the state this mini-batch started from
        c = rates if several else rates * (last_eta if complete else 0.0)
        learned = (c[:, None] * g).to(operand)
        if several:
            etas = tl.load(token_eta + position + rows, mask=rows < count, other=0.0)
            if step == 0 or position + ROWS >= M:
                G, G_b = waiting_updates(
                    *(k, kept + at_head, lr, k_t, out_t, lr_t, first - position, position + count),
                    *(rows, columns, ROWS, D, PRECISION),
                )
                commit = last_eta if complete else 0.0
                W, b, dG, dG_b = W + commit * G, b + commit * G_b, commit * dS, commit * db
                to_last_eta = tl.sum(G * tl.trans(dS)) + tl.sum(G_b * db)
                d_last_eta -= to_last_eta if complete else 0.0
            G -= tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
            G_b -= tl.sum(learned.to(tl.float32), 0)
        else:
            W += tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
            b += tl.sum(learned.to(tl.float32), 0)
        Wo = W.to(operand)

        # the output layer norm
        affinity = 1.0 + tl.dot(xq, tl.trans(xk), input_precision=PRECISION)
        eta = masked_rates(etas, rates)
        P = (eta * affinity).to(operand)
        Go, Go_b = (G.to(operand), G_b) if several else (None, None)
        zb, taken = answers(xq, Wo, b, P, go, etas, Go, Go_b, PRECISION)
        x_out, rstd_out = normalized(zb, D, eps)
        dy = load_tile(d_out + here, rows, columns, out_t, count, D).to(tl.float32)
        dzb, to_dgamma, to_dbeta, to_db = answer_backward(dy, x_out, rstd_out, gamma, columns, D)
        dzo = dzb.to(operand)
        dgamma, dbeta = dgamma + to_dgamma, dbeta + to_dbeta

        # the dual form
        dP = lower_triangle(-tl.dot(dzo, tl.trans(go), input_precision=PRECISION))
        deta, dA = dP * affinity, (dP * eta).to(operand)
        d_query = tl.dot(dA, xk, dy, input_precision=PRECISION)
        d_query = tl.dot(dzo, tl.trans(Wo), d_query, input_precision=PRECISION)
        if several:
            stepped = etas[:, None] * dzb
            d_query -= tl.dot(stepped.to(operand), tl.trans(Go), input_precision=PRECISION)
            detas = tl.sum(deta * rates[None, :], 1) - tl.sum(taken * dzb, 1)
        store_tile(gradients.q + here, d_query, rows, columns, out_t, count, D)

        # g, through the outputs of its mini-batch and through the update
        z = tl.dot(xk, Wo, input_precision=PRECISION) + b[None, :]
        x, rstd = normalized(z, D, eps)
        at_update, at_update_b = (dG, dG_b) if several else (dS, db)
        dGo = at_update.to(operand)
        h = tl.dot(xk, tl.trans(dGo), input_precision=PRECISION) + at_update_b[None, :]
        u = -tl.dot(tl.trans(P), dzo, input_precision=PRECISION) - c[:, None] * h
        d_key = -tl.dot(learned, dGo, input_precision=PRECISION)
        d_key = tl.dot(tl.trans(dA), xq, d_key, input_precision=PRECISION)
        dS = tl.dot(tl.trans(dzo), xq, dS, input_precision=PRECISION)
        if several:
            dG = tl.dot(tl.trans(stepped.to(operand)), xq, dG, input_precision=PRECISION)
            dG_b += tl.sum(stepped, 0)

        # the inner layer norm and loss
        xv = load_tile(v + first * v_t, rows, columns, v_t, count, D)
        e = gamma[None, :] * x + beta[None, :] - (xv.to(tl.float32) - xk.to(tl.float32))
        dz, de, to_step, to_dgamma, to_dbeta, to_db_inner = inner_gradient_backward(
            *(u, g, h, e, x, rstd, gamma, columns, D)
        )
        dc = -to_step if several else -to_step * (1.0 if complete else 0.0)
        dzo = dz.to(operand)
        dgamma, dbeta, db = dgamma + to_dgamma, dbeta + to_dbeta, db + (to_db + to_db_inner)

        # the rates
        d_rates = tl.sum(deta * etas[:, None], 0) + (dc if several else dc * last_eta)
        tl.store(d_lr + first * heads + rows * heads, d_rates, mask=rows < count)
        if several:
            add_in_place(d_token_eta + position + rows, detas, rows < count)
        else:
            detas += tl.sum(deta * rates[None, :], 1)
            detas += tl.where(rows == M - 1, tl.sum(dc * rates, 0), 0.0)

        store_tile(gradients.v + here, -de, rows, columns, out_t, count, D)
        dS = tl.dot(tl.trans(dzo), xk, dS, input_precision=PRECISION)
        d_key = tl.dot(dzo, tl.trans(Wo), d_key + de, input_precision=PRECISION)
        store_tile(gradients.k + here, d_key, rows, columns, out_t, count, D)
    store_model(state, program, W, b, columns, D)
    store_model(gradients.state, program, tl.trans(dS), db, columns, D)
    store_norm(gradients, program, dgamma, dbeta, columns, D)
    if several:
        add_in_place(d_token_eta + M - 1, d_last_eta)
    else:
        tl.store(d_token_eta + rows, detas, mask=rows < M)
