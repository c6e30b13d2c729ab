"""Kernels of the kinds that people write, to be verified."""

import triton
import triton.language as tl


@triton.jit
def add(
    x_ptr: tl.tensor, y_ptr: tl.tensor, out_ptr: tl.tensor, n: tl.tensor, BLOCK: tl.constexpr
) -> None:
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    x = tl.load(x_ptr + i, mask=mask)
    y = tl.load(y_ptr + i, mask=mask)
    tl.store(out_ptr + i, x + y, mask=mask)


@triton.jit
def softmax(
    x_ptr: tl.tensor, out_ptr: tl.tensor, columns: tl.tensor, COLUMNS: tl.constexpr
) -> None:
    row = tl.program_id(0)
    i = tl.arange(0, COLUMNS)
    x = tl.load(x_ptr + row * columns + i, mask=i < columns, other=-float("inf")).to(tl.float32)
    exponents = tl.exp(x - tl.max(x, 0))
    result = exponents / tl.sum(exponents, 0)
    tl.store(out_ptr + row * columns + i, result.to(out_ptr.dtype.element_ty), mask=i < columns)


@triton.jit
def _normalize(x: tl.tensor, EPS: tl.constexpr) -> tl.tensor:
    centered = x - (x.sum(1) / x.shape[1])[:, None]
    variance = tl.sum(centered * centered, 1) / x.shape[1]
    return centered * tl.rsqrt(variance + EPS)[:, None]


@triton.jit
def layer_norm(
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    out_ptr: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLUMNS)
    at = r[:, None] * COLUMNS + c[None, :]
    x = _normalize(tl.load(x_ptr + at).to(tl.float32), 1e-5)
    y = x * tl.load(weight_ptr + c)[None, :] + tl.load(bias_ptr + c)[None, :]
    tl.store(out_ptr + at, y.to(out_ptr.dtype.element_ty))


@triton.jit
def matmul(
    a_ptr: tl.tensor,
    b_ptr: tl.tensor,
    c_ptr: tl.tensor,
    N: tl.tensor,
    K: tl.tensor,
    M_BLOCK: tl.constexpr,
    N_BLOCK: tl.constexpr,
    K_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    m = tl.program_id(0) * M_BLOCK + tl.arange(0, M_BLOCK)
    n = tl.program_id(1) * N_BLOCK + tl.arange(0, N_BLOCK)
    k = tl.arange(0, K_BLOCK)
    accumulator = tl.zeros((M_BLOCK, N_BLOCK), tl.float32)
    for start in range(0, K, K_BLOCK):
        a = tl.load(a_ptr + m[:, None] * K + (start + k)[None, :])
        b = tl.load(b_ptr + (start + k)[:, None] * N + n[None, :])
        accumulator = tl.dot(a, b, accumulator, input_precision=PRECISION)
    tl.store(c_ptr + m[:, None] * N + n[None, :], accumulator.to(c_ptr.dtype.element_ty))


@triton.jit
def linear_attention(
    q_ptr: tl.tensor,
    k_ptr: tl.tensor,
    v_ptr: tl.tensor,
    out_ptr: tl.tensor,
    state_ptr: tl.tensor,
    chunks: tl.tensor,
    M: tl.constexpr,
    D: tl.constexpr,
) -> None:
    """o = q S + tril(q k^T) v for each chunk of M tokens, then S += k^T v; one head a program."""
    head = tl.program_id(0)
    i = tl.arange(0, M)
    d = tl.arange(0, D)
    state = tl.zeros((D, D), tl.float32)
    for chunk in range(chunks):
        at = (head * chunks + chunk) * M * D + i[:, None] * D + d[None, :]
        q, k, v = tl.load(q_ptr + at), tl.load(k_ptr + at), tl.load(v_ptr + at)
        scores = tl.where(i[:, None] >= i[None, :], tl.dot(q, tl.trans(k)), 0.0)
        out = tl.dot(q, state.to(q.dtype)) + tl.dot(scores.to(q.dtype), v)
        state += tl.dot(tl.trans(k), v)
        tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty))
    tl.store(state_ptr + head * D * D + d[:, None] * D + d[None, :], state)


@triton.jit
def column_sums(
    x_ptr: tl.tensor,
    out_ptr: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ATOMIC: tl.constexpr,
) -> None:
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLUMNS)
    sums = tl.sum(tl.load(x_ptr + r[:, None] * COLUMNS + c[None, :]), 0)
    if ATOMIC:
        tl.atomic_add(out_ptr + c, sums)
    else:
        tl.store(out_ptr + c, tl.load(out_ptr + c) + sums)
