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

from ttt_kernels.gpu.tiles import (
    centered,
    load_features,
    load_state,
    load_tile,
    masked_rates,
    normalized,
    row_mean,
    store_tile,
    sum_of_five,
    sum_of_three,
    sum_of_two,
    tile_at,
    tile_count,
    without_padding,
)


@triton.jit
def waiting_updates(
    k: tl.tensor,
    kept: tl.tensor,
    lr: tl.tensor,
    k_t: tl.tensor,
    kept_t: tl.tensor,
    lr_t: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    count: tl.tensor,
    ROWS: tl.constexpr,
    D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Sum k_j^T lr_j g_j and lr_j g_j over `count` tokens, to the bits of the forward pass.

    The pointers are those of the first token.
    """
    G = tl.zeros([columns.shape[0], columns.shape[0]], tl.float32)
    G_b = tl.zeros([columns.shape[0]], tl.float32)
    for position in tl.range(0, count, ROWS):
        left = tl.minimum(ROWS, count - position)
        go = load_tile(kept + position * kept_t, rows, columns, kept_t, left, D)
        xk = load_tile(k + position * k_t, rows, columns, k_t, left, D).to(go.dtype)
        rates = tl.load(lr + position * lr_t + rows * lr_t, mask=rows < left, other=0.0)
        learned = (rates[:, None] * go.to(tl.float32)).to(go.dtype)
        G += tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
        G_b += tl.sum(learned.to(tl.float32), 0)
    return G, G_b


@triton.jit
def tile_backward(
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
    ROWS: tl.constexpr,
    D_PAD: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Walk over all tokens of one sequence and head, from the last to the first.

    Tensors:
        q: as for `tile_forward`, and so are k, v, lr, token_eta, ln_w and ln_b.
        kept: g of all tokens, by the strides out_b, out_t, D and 1.
        d_out: gradient of the output, like `kept`.
        weight: in: the final state, (B, H, D, D); out: the state the forward pass started from.
        bias: (B, H, D), likewise.
        d_weight: in: gradient of the final state, (B, H, D, D); out: of the initial one.
        d_bias: (B, H, D), likewise.
        d_token_eta: the gradient is added to it, (B, H, M).
        d_ln_w: likewise, (B, H, D).
        d_ln_b: likewise, (B, H, D).
        dq: gradient, (B, T, H, D), like `kept`.
        dk: likewise.
        dv: likewise.
        d_lr: gradient, (B, T, H) by d_lr_b, d_lr_t and 1.
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
    weight += program * D * D
    bias += program * D
    d_weight += program * D * D
    d_bias += program * D
    W, b = centered(load_state(weight, columns, D), load_features(bias, columns, D), columns, D)
    dS, db = tl.trans(load_state(d_weight, columns, D)), load_features(d_bias, columns, D)
    dgamma = load_features(d_ln_w + program * D, columns, D)
    dbeta = load_features(d_ln_b + program * D, columns, D)
    d_token_eta += program * M
    detas = tl.load(d_token_eta + rows, mask=rows < M, other=0.0)
    q += batch * q_b + head * q_h
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    lr += batch * lr_b + head * lr_h
    d_lr += batch * d_lr_b + head
    at_head = batch * out_b + head * D
    tiles = tile_count(tokens, M, ROWS)
    if several:
        G, G_b = tl.zeros([D_PAD, D_PAD], tl.float32), tl.zeros([D_PAD], tl.float32)
        dG, dG_b, d_last_eta = tl.zeros_like(G), tl.zeros_like(G_b), 0.0
    for step in tl.range(0, tiles, disable_licm=True):
        # offsets of 32 bits: whoever launches sees to it that a launch has no more tokens
        first, position, count, complete = tile_at(tiles - 1 - step, tokens, M, ROWS)
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
                    *(k + (first - position) * k_t, kept + (here - position * out_t)),
                    *(lr + (first - position) * lr_t, k_t, out_t, lr_t, rows, columns),
                    *(position + count, ROWS, D, PRECISION),
                )
                commit = last_eta if complete else 0.0
                W += commit * G
                b += commit * G_b
                dG, dG_b = commit * dS, commit * db
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
        zb = tl.dot(xq, Wo, input_precision=PRECISION) + b[None, :]
        if several:
            Go = G.to(operand)
            taken = tl.dot(xq, Go, input_precision=PRECISION) + G_b[None, :]
            zb -= etas[:, None] * taken
        zb -= tl.dot(P, go, input_precision=PRECISION)
        x_out, rstd_out = normalized(zb, D, eps)
        dy = load_tile(d_out + here, rows, columns, out_t, count, D).to(tl.float32)
        dx = dy * gamma[None, :]
        sums = tl.reduce((dx, dx * x_out), 1, sum_of_two)
        dzb = (dx - (sums[0] / D)[:, None] - x_out * (sums[1] / D)[:, None]) * rstd_out[:, None]
        dzb = without_padding(dzb, columns, D)
        dzo = dzb.to(operand)
        to_dgamma, to_dbeta, to_db = tl.reduce((dy * x_out, dy, dzb), 0, sum_of_three)
        dgamma += to_dgamma
        dbeta += to_dbeta

        # the dual form
        dP = -tl.dot(dzo, tl.trans(go), input_precision=PRECISION)
        dP = tl.where(rows[:, None] >= rows[None, :], dP, 0.0)
        deta = dP * affinity
        dA = (dP * eta).to(operand)
        d_query = tl.dot(dA, xk, dy, input_precision=PRECISION)
        d_query = tl.dot(dzo, tl.trans(Wo), d_query, input_precision=PRECISION)
        if several:
            stepped = etas[:, None] * dzb
            d_query -= tl.dot(stepped.to(operand), tl.trans(Go), input_precision=PRECISION)
            detas = tl.sum(deta * rates[None, :], 1) - tl.sum(taken * dzb, 1)
        store_tile(dq + here, d_query, rows, columns, out_t, count, D)

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
        sums = tl.reduce((u, u * x, u * g, h * g, e * gamma[None, :] * x), 1, sum_of_five)
        mean_u, mean_ux, mean_ug, mean_ax = sums[0] / D, sums[1] / D, sums[2] / D, sums[4] / D
        dc = -sums[3] if several else -sums[3] * (1.0 if complete else 0.0)
        da = (u - mean_u[:, None] - x * mean_ux[:, None]) * rstd[:, None]
        de = da * gamma[None, :]
        dx = (de - e * (mean_ux * rstd)[:, None]) * gamma[None, :] - u * (mean_ax * rstd)[:, None]
        sums = tl.reduce((dx, dx * x), 1, sum_of_two)
        dz = (dx - (sums[0] / D)[:, None] - x * (sums[1] / D + mean_ug)[:, None]) * rstd[:, None]
        dz = without_padding(dz, columns, D)
        dzo = dz.to(operand)
        to_dgamma, to_dbeta, to_db_inner = tl.reduce((da * e + de * x, de, dz), 0, sum_of_three)
        dgamma += to_dgamma
        dbeta += to_dbeta
        db += to_db + to_db_inner

        # the rates
        d_rates = tl.sum(deta * etas[:, None], 0) + (dc if several else dc * last_eta)
        tl.store(d_lr + first * d_lr_t + rows * d_lr_t, d_rates, mask=rows < count)
        if several:
            slots = d_token_eta + position + rows
            detas += tl.load(slots, mask=rows < count)
            tl.debug_barrier()  # all warps have read what is replaced
            tl.store(slots, detas, mask=rows < count)
        else:
            detas += tl.sum(deta * rates[None, :], 1)
            detas += tl.where(rows == M - 1, tl.sum(dc * rates, 0), 0.0)

        store_tile(dv + here, -de, rows, columns, out_t, count, D)
        dS = tl.dot(tl.trans(dzo), xk, dS, input_precision=PRECISION)
        d_key = tl.dot(dzo, tl.trans(Wo), d_key + de, input_precision=PRECISION)
        store_tile(dk + here, d_key, rows, columns, out_t, count, D)
    W += row_mean(load_state(weight, columns, D), D)[:, None]
    b += tl.sum(load_features(bias, columns, D), 0) / D
    tl.debug_barrier()  # the state is replaced where it stood: all warps have read it by now
    store_tile(weight, W, columns, columns, D, D, D)
    tl.store(bias + columns, b, mask=columns < D)
    store_tile(d_weight, tl.trans(dS), columns, columns, D, D, D)
    tl.store(d_bias + columns, db, mask=columns < D)
    tl.store(d_ln_w + program * D + columns, dgamma, mask=columns < D)
    tl.store(d_ln_b + program * D + columns, dbeta, mask=columns < D)
    if several:
        d_last_eta += tl.load(d_token_eta + M - 1)
        tl.debug_barrier()
        tl.store(d_token_eta + M - 1, d_last_eta)
    else:
        tl.store(d_token_eta + rows, detas, mask=rows < M)
