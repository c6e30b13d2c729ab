"""The tokens of one mini-batch as small matrices, padded for the vector units."""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import TILE_ROWS, prefetch, vector_length


class Sequence(NamedTuple):
    """The arguments of an inner loop as flat arrays; compiled code sees no torch.

    Attributes:
        q: storage from the first number of the queries to the last, (any,), and so k and v.
        k: keys.
        v: values.
        steps: numbers from one sequence, token and head to the next, rows q, k, v, (3, 3) int64.
        lr: (B, T, H).
        token_eta: (M,).
        weight: W0, (B, H, D, D), or (1, H, D, D) if all sequences share it.
        bias: b0, (B, H, D) or (1, H, D).
        ln_w: (H, D).
        ln_b: (H, D).
        eps: of the inner layer norm, in the dtype of all.
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
    """Scratch memory for one mini-batch; rows are tokens unless it says otherwise.

    Attributes:
        keys: (M', D').
        queries: (M', D').
        targets: v - k, (M', D').
        steps: -token_eta[n - 1] * lr_j * k_j, what a token adds to the weight per gradient.
        keys_by_feature: (D', M'').
        normed: standardized inner outputs of the keys, (M', D').
        inverse_std: of the same, (M',).
        gradients: g, (M', D').
        attention: q_i . k_j, (M', M'').
        corrections: -(1 + q_i . k_j) * eta_ij for j <= i, else 0, (M', M'').
        answers: inner outputs of the queries, then standardized, (M', D').
        answer_inverse_std: (M',).
        rates: lr_j, (M',).
    """

    keys: Any
    queries: Any
    targets: Any
    steps: Any
    keys_by_feature: Any
    normed: Any
    inverse_std: Any
    gradients: Any
    attention: Any
    corrections: Any
    answers: Any
    answer_inverse_std: Any
    rates: Any


@jit
def padded(size: int, array: Any) -> int:
    """Round up so that both whole vectors and whole tiles of the array's type fit."""
    unit = max(vector_length(array), TILE_ROWS)
    return (size + unit - 1) // unit * unit


@jit
def make_tiles(mini_batch_size: int, dim: int, like: Any) -> Any:
    """Allocate tiles of zeros; the padding stays zero."""
    rows, columns = padded(mini_batch_size, like), padded(dim, like)
    kind = like.dtype
    return Tiles(
        np.zeros((rows, columns), kind),
        np.zeros((rows, columns), kind),
        np.zeros((rows, columns), kind),
        np.zeros((rows, columns), kind),
        np.zeros((columns, rows), kind),
        np.zeros((rows, columns), kind),
        np.zeros(rows, kind),
        np.zeros((rows, columns), kind),
        np.zeros((rows, rows), kind),
        np.zeros((rows, rows), kind),
        np.zeros((rows, columns), kind),
        np.zeros(rows, kind),
        np.zeros(rows, kind),
    )


@jit
def load_tokens(sequence: Any, tiles: Any, batch: int, head: int, start: int, count: int) -> None:
    """Fill the tiles with `count` tokens from `start` on."""
    dim = sequence.ln_w.shape[1]
    _load(tiles.queries, sequence.q, sequence.steps[0], batch, head, start, count, dim)
    _load(tiles.keys, sequence.k, sequence.steps[1], batch, head, start, count, dim)
    _load(tiles.targets, sequence.v, sequence.steps[2], batch, head, start, count, dim)
    last_eta = sequence.token_eta[count - 1]
    for i in range(count):
        rate = sequence.lr[batch, start + i, head]
        tiles.rates[i] = rate
        step = -last_eta * rate
        for d in range(dim):
            tiles.steps[i, d] = step * tiles.keys[i, d]
        for d in range(dim):
            tiles.targets[i, d] -= tiles.keys[i, d]
    transpose(tiles.keys_by_feature, tiles.keys, count, dim)


@jit
def _load(
    tile: Any, source: Any, steps: Any, batch: int, head: int, start: int, count: int, dim: int
) -> None:
    for i in range(count):
        # Unsigned, or each number would be checked for an index from the end.
        at = np.uintp(batch * steps[0] + (start + i) * steps[1] + head * steps[2])
        for d in range(dim):
            tile[i, d] = source[at + np.uintp(d)]


@jit
def prefetch_tokens(sequence: Any, batch: int, head: int, start: int, count: int) -> None:
    """Ask for tokens that will be loaded next: they lie far apart, as no hardware foresees."""
    dim = sequence.ln_w.shape[1]
    line = 64 // sequence.q.itemsize
    steps = sequence.steps
    for i in range(count):
        at_q = batch * steps[0, 0] + (start + i) * steps[0, 1] + head * steps[0, 2]
        at_k = batch * steps[1, 0] + (start + i) * steps[1, 1] + head * steps[1, 2]
        at_v = batch * steps[2, 0] + (start + i) * steps[2, 1] + head * steps[2, 2]
        for d in range(0, dim, line):
            prefetch(sequence.q, np.uintp(at_q + d))
            prefetch(sequence.k, np.uintp(at_k + d))
            prefetch(sequence.v, np.uintp(at_v + d))


@jit
def transpose(out: Any, matrix: Any, rows: int, columns: int) -> None:
    """Write the transpose of the first rows and columns of a matrix."""
    for i in range(rows):
        for j in range(columns):
            out[j, i] = matrix[i, j]


@jit
def set_rows(out: Any, row: Any, rows: int) -> None:
    """Write a row into the first rows of a matrix."""
    for i in range(rows):
        for j in range(row.shape[0]):
            out[i, j] = row[j]


@jit
def standardize(matrix: Any, inverse_std: Any, rows: int, dim: int, eps: Any) -> None:
    """Give each row zero mean and unit biased variance, in place; keep 1 / std.

    The variance is that of the centred values: E[z^2] - E[z]^2 loses all digits for small spreads.
    """
    zero = eps * 0
    for i in range(rows):
        total = zero
        for d in range(dim):
            total += matrix[i, d]
        mean = total / dim
        total = zero
        for d in range(dim):
            centred = matrix[i, d] - mean
            matrix[i, d] = centred
            total += centred * centred
        scale = 1 / np.sqrt(total / dim + eps)
        inverse_std[i] = scale
        for d in range(dim):
            matrix[i, d] *= scale
