"""The tokens of one mini-batch of one head as small matrices, padded for the vector units."""

import math
from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import ROW_UNIT
from ttt_kernels.cpu.vector import (
    VECTOR_BYTES,
    load,
    prefetch,
    store,
    total_of,
    transpose_block,
    vector_length,
    zeros,
)

_LINE_BYTES = 64

LN_W, LN_B, BIAS, MASK = range(4)
"""Rows of a head: its layer norm, its bias, and ones where a feature is no padding; (4, D')."""


class Sequence(NamedTuple):
    """The arguments of an inner loop as arrays of one type; compiled code sees no torch.

    Attributes:
        q: storage from the first number of the queries to the last, (any,), and so k and v.
        k: keys.
        v: values.
        steps: numbers from one sequence, token and head to the next, rows q, k, v, (3, 3) int64.
        lr: (B, T, H).
        token_eta: (M,).
        weight: W0, (B, H, D, D), or (1, H, D, D) if all sequences share it.
        bias: b0, (B, H, D) or (1, H, D); shared if and only if the weight is.
        ln_w: (H, D).
        ln_b: (H, D).
        eps: of the inner layer norm.
    """

    q: Any
    k: Any
    v: Any
    steps: Any
    lr: Any
    token_eta: Any
    weight: Any
    bias: Any
    ln_w: Any
    ln_b: Any
    eps: Any


class Tiles(NamedTuple):
    """Scratch memory for one mini-batch; the rows are tokens unless it says otherwise.

    M' and D' are M and D rounded up; the padding of every row is zero.

    Attributes:
        causal: ones where j <= i, (M', M').
        rates: lr_j, (1, M').
        inputs: the queries and below them the keys, (2 M', D').
        queries: the first half of `inputs`, (M', D').
        keys: the second.
        targets: v - k, (M', D').
        keys_by_feature: (D', M').
        normed: standardized inner outputs of the keys, (M', D').
        inverse_std: of the same, (M',).
        gradients: g, (M', D').
        attention: q_i . k_j, (M', M').
        corrections: -(1 + q_i . k_j) * eta_ij for j <= i, else 0, (M', M').
        answers: inner outputs of the queries, standardized, (M', D').
        answer_inverse_std: (M',).
        descents: -token_eta[n - 1] * lr_j * g_j, the steps of the bias, (M', D').
    """

    causal: Any
    rates: Any
    inputs: Any
    queries: Any
    keys: Any
    targets: Any
    keys_by_feature: Any
    normed: Any
    inverse_std: Any
    gradients: Any
    attention: Any
    corrections: Any
    answers: Any
    answer_inverse_std: Any
    descents: Any


def padded(size: int, like: np.ndarray) -> int:
    """Round up so that both whole vectors and whole tiles of the array's type fit."""
    unit = max(VECTOR_BYTES // like.itemsize, ROW_UNIT)
    return (size + unit - 1) // unit * unit


@jit
def number(value: float, like: Any) -> Any:
    """Give a constant the array's type; beside an integer or a float64, float32 would widen."""
    return like.dtype.type(value)


def aligned_zeros(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """Zeros of an array's type from a border of a cache line on, which NumPy does not promise.

    Otherwise most vectors lie across a border, and are read twice.
    """
    length = math.prod(shape) * like.itemsize
    room = np.zeros(length + _LINE_BYTES, np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    return room[start : start + length].view(like.dtype).reshape(shape)


def make_tiles(mini_batch_size: int, dim: int, like: np.ndarray, *, shared: bool) -> Tiles:
    """Allocate tiles of zeros.

    Args:
        mini_batch_size: M.
        dim: D.
        like: array of the type.
        shared: let tiles that the forward pass needs one after the other be the same memory, so
            that all of them stay in the innermost cache: targets and gradients; normed, answers and
            descents.
    """
    tokens, width = padded(mini_batch_size, like), padded(dim, like)
    causal = aligned_zeros((tokens, tokens), like)
    causal[:] = np.tri(tokens)
    targets, normed = aligned_zeros((tokens, width), like), aligned_zeros((tokens, width), like)
    gradients = targets if shared else aligned_zeros((tokens, width), like)
    answers = normed if shared else aligned_zeros((tokens, width), like)
    descents = normed if shared else aligned_zeros((tokens, width), like)
    inputs = aligned_zeros((2 * tokens, width), like)
    return Tiles(
        causal,
        aligned_zeros((1, tokens), like),
        inputs,
        inputs[:tokens],
        inputs[tokens:],
        targets,
        aligned_zeros((width, tokens), like),
        normed,
        np.zeros(tokens, like.dtype),
        gradients,
        aligned_zeros((tokens, tokens), like),
        aligned_zeros((tokens, tokens), like),
        answers,
        np.zeros(tokens, like.dtype),
        descents,
    )


@jit
def load_head(sequence: Any, weight: Any, rows: Any, batch: int, head: int) -> None:
    """Load W0 (D', D'), b0 and the layer norm of one head, and zeros into the padding.

    The head that was there before may have left something that is no number.
    """
    dim = sequence.ln_w.shape[1]
    fill_zeros(weight, weight.shape[0])
    fill_zeros(rows, 4)
    shared = sequence.weight.shape[0] == 1
    copy_state(
        weight,
        rows,
        sequence.weight[0 if shared else batch, head],
        sequence.bias[0 if shared else batch, head],
        dim,
    )
    for d in range(dim):
        rows[LN_W, d] = sequence.ln_w[head, d]
        rows[LN_B, d] = sequence.ln_b[head, d]
        rows[MASK, d] = 1


@jit
def copy_state(weight: Any, rows: Any, from_weight: Any, from_bias: Any, dim: int) -> None:
    """Load a state (D, D), (D,) into padded arrays (D', D'), (4, D')."""
    for i in range(dim):
        rows[BIAS, i] = from_bias[i]
        for j in range(dim):
            weight[i, j] = from_weight[i, j]


@jit
def keep_state(to_weight: Any, to_bias: Any, weight: Any, rows: Any, dim: int) -> None:
    """Write what `copy_state` loads."""
    for i in range(dim):
        to_bias[i] = rows[BIAS, i]
        for j in range(dim):
            to_weight[i, j] = weight[i, j]


@jit
def load_tokens(sequence: Any, tiles: Any, batch: int, head: int, start: int, count: int) -> None:
    """Fill the tiles with `count` tokens from `start` on."""
    q, k, v, steps = sequence.q, sequence.k, sequence.v, sequence.steps
    dim = sequence.ln_w.shape[1]
    vector = vector_length(sequence.lr)
    whole = dim // vector * vector
    for i in range(count):
        token = start + i
        at_q = batch * steps[0, 0] + token * steps[0, 1] + head * steps[0, 2]
        at_k = batch * steps[1, 0] + token * steps[1, 1] + head * steps[1, 2]
        at_v = batch * steps[2, 0] + token * steps[2, 1] + head * steps[2, 2]
        tiles.rates[0, i] = sequence.lr[batch, token, head]
        for d in range(0, whole, vector):
            keys = load(k, 0, at_k + d)
            store(tiles.queries, i, d, load(q, 0, at_q + d))
            store(tiles.keys, i, d, keys)
            store(tiles.targets, i, d, load(v, 0, at_v + d) - keys)
        for d in range(whole, dim):
            key = k[at_k + d]
            tiles.queries[i, d] = q[at_q + d]
            tiles.keys[i, d] = key
            tiles.targets[i, d] = v[at_v + d] - key
    clear_padding(tiles.queries, count, dim)
    clear_padding(tiles.keys, count, dim)
    clear_padding(tiles.targets, count, dim)
    transpose(tiles.keys_by_feature, tiles.keys, count, dim)


@jit
def prefetch_rows(source: Any, first: int, step: int, count: int, dim: int) -> None:
    """Ask for rows of a flat array that are needed soon; they lie apart, which no hardware sees."""
    line = _LINE_BYTES // source.itemsize
    for i in range(count):
        for d in range(0, dim, line):
            prefetch(source, first + i * step + d)


@jit
def ask_for(sequence: Any, which: int, program: int, start: int, count: int) -> None:
    """Ask for the queries, keys or values (0, 1, 2) of a mini-batch that is next."""
    heads, dim = sequence.ln_w.shape
    steps = sequence.steps[which]
    first = (program // heads) * steps[0] + start * steps[1] + (program % heads) * steps[2]
    source = (sequence.q, sequence.k, sequence.v)[which]
    prefetch_rows(source, first, steps[1], count, dim)


@jit
def clear_padding(tile: Any, count: int, dim: int) -> None:
    """Write zeros behind the features: what was there may be no number, which no mask removes."""
    for i in range(count):
        for d in range(dim, tile.shape[1]):
            tile[i, d] = 0


@jit
def store_tokens(out: Any, tile: Any, start: int, step: int, count: int, dim: int) -> None:
    """Write the first rows of a tile into a flat array, `step` numbers from one to the next."""
    vector = vector_length(out)
    whole = dim // vector * vector
    for i in range(count):
        at = start + i * step
        for d in range(0, whole, vector):
            store(out, 0, at + d, load(tile, i, d))
        for d in range(whole, dim):
            out[at + d] = tile[i, d]


@jit
def transpose(out: Any, matrix: Any, rows: int, columns: int) -> None:
    """Write the transpose of the first rows and columns of a matrix, and of their padding."""
    vector = vector_length(out)
    for i in range(0, rows, vector):
        for j in range(0, columns, vector):
            transpose_block(out, j, i, matrix, i, j)


@jit
def fill_rows(out: Any, rows: Any, row: int, count: int) -> None:
    """Copy one row of a matrix into the first `count` rows of another."""
    vector = vector_length(out)
    for d in range(0, out.shape[1], vector):
        content = load(rows, row, d)
        for i in range(count):
            store(out, i, d, content)


@jit
def fill_zeros(out: Any, count: int) -> None:
    """Set the first `count` rows of a matrix to zero."""
    nothing = zeros(out)
    for i in range(count):
        for d in range(0, out.shape[1], vector_length(out)):
            store(out, i, d, nothing)


@jit
def standardize(tile: Any, inverse_std: Any, rows: Any, count: int, dim: int, eps: Any) -> None:
    """Give the first rows zero mean and unit biased variance, in place; keep 1 / std.

    The variance is that of the centred values: E[z^2] - E[z]^2 loses all digits for small spreads.
    """
    vector, width = vector_length(tile), tile.shape[1]
    per_dim, one = number(1.0 / dim, tile), number(1.0, tile)
    for i in range(count):
        total = zeros(tile)
        for d in range(0, width, vector):
            total += load(tile, i, d)
        mean = total_of(total) * per_dim
        total = zeros(tile)
        for d in range(0, width, vector):
            centred = (load(tile, i, d) - mean) * load(rows, MASK, d)
            store(tile, i, d, centred)
            total += centred * centred
        scale = one / np.sqrt(total_of(total) * per_dim + eps)
        inverse_std[i] = scale
        for d in range(0, width, vector):
            store(tile, i, d, load(tile, i, d) * scale)
