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

from ttt_kernels.gpu.arguments import Inputs, Start, State, first_tokens
from ttt_kernels.gpu.normalization import inner_gradient, normalized
from ttt_kernels.gpu.tiles import (
    load_centered,
    load_norm,
    load_tile,
    masked_rates,
    store_centered,
    store_tile,
    tile_at,
    tile_end,
)


@triton.jit
def answers(
    xq: tl.tensor,
    Wo: tl.tensor,
    b: tl.tensor,
    P: tl.tensor,
    go: tl.tensor,
    etas: tl.tensor,
    Go: tl.tensor | None,
    G_b: tl.tensor,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """What the inner model answers, before the layer norm: zb, and q G + G_b.

    Where nothing waits Go is None, and the second 0.
    """
    zb = tl.dot(xq, Wo, input_precision=PRECISION) + b[None, :]
    taken = 0.0
    if Go is not None:
        taken = tl.dot(xq, Go, input_precision=PRECISION) + G_b[None, :]
        zb -= etas[:, None] * taken
    return zb - tl.dot(P, go, input_precision=PRECISION), taken


@triton.jit(do_not_specialize=["tokens", "lr_b"])  # a new length is no new kernel
def tile_forward(
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
    ROWS: tl.constexpr,
    D_PAD: tl.constexpr,
    ANSWER: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Read all tokens of one sequence and head.

    Tensors:
        lr: learned step sizes, (B, T, H) by lr_b, lr_t and lr_h.
        out: the answers, (B, T, H, D) by out_b, out_t, D and 1; written if ANSWER.
        kept: g in the dtype and layout of `out`, for the backward pass; written if KEEP.
        end: the state after the last complete mini-batch, written; one for each sequence.
    """
    program = tl.program_id(0).to(tl.int64)
    batch, head = program // heads, program % heads
    several: tl.constexpr = M > ROWS
    rows, columns = tl.arange(0, ROWS), tl.arange(0, D_PAD)
    operand = inputs.q.pointer.dtype.element_ty
    gamma, beta = load_norm(inputs, head, columns, D)
    token_eta = inputs.token_eta
    etas = tl.load(token_eta + rows, mask=rows < M, other=0.0)
    last_eta = tl.load(token_eta + M - 1)
    W, b = load_centered(start, program, columns, D)
    q, k, v = first_tokens(inputs, batch, head)
    q_t, k_t, v_t = inputs.q.token, inputs.k.token, inputs.v.token
    lr += batch * lr_b + head * lr_h
    out += batch * out_b + head * D
    kept += batch * out_b + head * D
    if several:
        G, G_b = tl.zeros([D_PAD, D_PAD], tl.float32), tl.zeros([D_PAD], tl.float32)
    STEP: tl.constexpr = 1 if several else M
    for tile in tl.range(0, tile_end(tokens, M, ROWS), STEP, disable_licm=True):
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
            Go, Go_b = None, None
            W -= tl.dot(tl.trans(xk), learned, input_precision=PRECISION)
            b -= tl.sum(learned.to(tl.float32), 0)
        if KEEP:
            store_tile(kept + first * out_t, go, rows, columns, out_t, count, D)
        if ANSWER:
            xq = load_tile(q + first * q_t, rows, columns, q_t, count, D)
            scores = tl.dot(xq, tl.trans(xk), input_precision=PRECISION)
            P = masked_rates(etas, rates) * (1.0 + scores)
            zb, _ = answers(xq, Wo, bo, P.to(operand), go, etas, Go, Go_b, PRECISION)
            x, _ = normalized(zb, D, eps)
            answer = xq.to(tl.float32) + gamma[None, :] * x + beta[None, :]
            store_tile(out + first * out_t, answer, rows, columns, out_t, count, D)
    store_centered(end, program, W, b, start, columns, D)
