"""Scratch memory of the scans, and what is done to it row by row.

Everything is made of *panels*: rows of one vector, one after the other. In a tile a row is one
feature of as many tokens as a vector has lanes, and there are as many panels as a mini-batch needs.
So a product with a weight reads the weight once and as it is, transposed or not; sums over
features, as in a layer norm, need no sums within a vector; and the distance from row to row is a
constant of the compiled code, so that addresses need no registers.
"""

import math
from collections.abc import Sequence as Listed
from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.vector import (
    LINE_BYTES,
    VECTOR_BYTES,
    put,
    root_of,
    row,
    spread,
    store,
    transpose_square,
    vector_length,
    zeros,
)

UNIT = 16
"""Features are padded to a multiple of it: the tallest tile of a product, the longest vector."""

# Tiles of every layer, and of what would be another one behind the last: x_l, the inputs on the way
# of the keys, which are the standardized z_L behind the last layer. What stands side by side is
# used side by side: the factors of the gradient of a weight, first those that stand by its input,
# (q_l, dPULLED, x_l), then those by its output, (d of y_l, d of z_l).
ANSWERS, DPULLED, INPUTS, DANSWERS, DKEYS = range(5)
# gelu' and gelu'' between the layers on the way of the keys, and gelu' on that of the queries; g_l;
# g_{l+1} W_{l+1}^T; gradients of x_l and of g_l.
SLOPES, CURVATURES, ANSWER_SLOPES, GRADIENTS, PULLED, DINPUTS, DGRADIENTS = range(5, 12)
# Single tiles: v - k; anything. Gradients: of the output, then of q; of v; of the layer norm, where
# each token's lane holds its part.
TARGETS, SCALED, DOUTPUT, DVALUES, DLN_W, DLN_B = range(6)
# Tokens by tokens, key j by query i: 1 + x_j . q_i, of every layer; that times -eta_ij. In the
# first layer's place: token_eta_i for j <= i, else 0; ones there; the gradient of x_j . q_i; a
# transpose.
ATTENTIONS, CORRECTIONS, STEPS, CAUSAL, DATTENTION, FLIPPED = range(6)
# Rows of one number for each token: lr_j and its gradient; 1 / std of z_L, keys and queries.
RATES, DRATES, INVERSE_STD, ANSWER_INVERSE_STD = range(4)
# Panels by token, a row for each token and a panel for so many features: queries and below them
# keys; the g of a step, or three factors of the gradient of a weight; anything.
TOKENS, GROWTH, OTHER = range(3)
# Rows of a head; see `state`.
LN_W, LN_B, TOKEN_ETA = range(3)


class Sequence(NamedTuple):
    """The arguments of an inner loop as arrays of one type; compiled code sees no torch.

    Attributes:
        q: storage from the first number of the queries to the last, (any,), and so k and v.
        k: keys.
        v: values.
        steps: numbers from one sequence, token and head to the next, rows q, k, v, (3, 3) int64.
        lr: (B, T, H).
        token_eta: (M,).
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
    ln_w: Any
    ln_b: Any
    eps: Any


class Model(NamedTuple):
    """Sizes of the inner model.

    Attributes:
        layers: L >= 1.
        dim: D, width of its input and output.
        hidden: F, width of everything between.
    """

    layers: Any
    dim: Any
    hidden: Any


class Tiles(NamedTuple):
    """Scratch memory for one mini-batch.

    V is the length of a vector, P the panels that M tokens need and M' = P V; W' is the wider of D
    and F, padded. Tokens that fill up a mini-batch are copies of its first one with a learning
    rate of zero: nothing is learned from them, and they are no less finite than the others. Few
    arrays, because each is seven arguments to compile.

    Attributes:
        layered: (L + 1, kinds, P, W', V).
        single: (kinds, P, W', V).
        squares: (kinds, L, P, M', V).
        rows: (kinds, M').
        by_token: (kinds, W' / V, 3 M', V).
    """

    layered: Any
    single: Any
    squares: Any
    rows: Any
    by_token: Any


def padded(size: int) -> int:
    """Round up to a multiple of UNIT."""
    return (size + UNIT - 1) // UNIT * UNIT


rows_of = jit(padded)


@jit
def width_in(model: Any, layer: int) -> int:
    """Features that a layer reads."""
    return model.dim if layer == 0 else model.hidden


@jit
def width_out(model: Any, layer: int) -> int:
    """Features that a layer writes."""
    return model.dim if layer == model.layers - 1 else model.hidden


def aligned(
    room: np.ndarray, shape: Listed[int], dtype: np.dtype, border: int = LINE_BYTES
) -> np.ndarray:
    """An array in a room of bytes, from the first border on that lies inside.

    NumPy promises no border of a line. Otherwise most vectors lie across one, and are read twice.
    """
    start = -room.ctypes.data % border
    return room[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def aligned_zeros(shape: Listed[int], dtype: np.dtype) -> np.ndarray:
    """Zeros from the border of a line on."""
    room = np.zeros(math.prod(shape) * dtype.itemsize + LINE_BYTES, np.uint8)
    return aligned(room, shape, dtype)


def make_tiles(model: Model, size: int, dtype: np.dtype) -> Tiles:
    """Allocate tiles of zeros for mini-batches of `size` tokens; not compiled.

    Pages that a pass leaves alone cost nothing.
    """
    lanes = VECTOR_BYTES // dtype.itemsize
    panels = -(-size // lanes)
    tokens, width = panels * lanes, padded(max(model.dim, model.hidden))
    tiles = Tiles(
        aligned_zeros((model.layers + 1, 12, panels, width, lanes), dtype),
        aligned_zeros((6, panels, width, lanes), dtype),
        aligned_zeros((6, model.layers, panels, tokens, lanes), dtype),
        aligned_zeros((4, tokens), dtype),
        aligned_zeros((3, width // lanes, 3 * tokens, lanes), dtype),
    )
    causal = np.triu(np.ones((tokens, tokens))).reshape(tokens, panels, lanes).swapaxes(0, 1)
    tiles.squares[CAUSAL, 0] = causal
    return tiles


@jit
def load_steps(tiles: Any, token_eta: Any) -> None:
    """Write the step sizes by position, for those tokens a query may learn from."""
    steps, causal = tiles.squares[STEPS, 0], tiles.squares[CAUSAL, 0]
    panels, tokens, vector = steps.shape
    for p in range(panels):
        for lane in range(vector):
            i = p * vector + lane
            for j in range(tokens):
                steps[p, j, lane] = causal[p, j, lane] * token_eta[i] if i < len(token_eta) else 0


@jit
def number(value: float, like: Any) -> Any:
    """Give a constant the array's type; beside an integer or a float64, float32 would widen."""
    return like.dtype.type(value)


@jit
def by_feature(tile: Any, panels: Any, first: int, rows: int) -> None:
    """Write tokens that stand in rows, from the row `first` on, into a tile."""
    vector = vector_length(tile)
    for p in range(tile.shape[0]):
        for c in range((rows + vector - 1) // vector):
            transpose_square(
                *(tile[p], c * vector * vector, vector),
                *(panels[c], (first + p * vector) * vector, vector),
            )


@jit
def by_token(panels: Any, first: int, tile: Any, rows: int) -> None:
    """The way back: write a tile into rows of tokens."""
    vector = vector_length(tile)
    for p in range(tile.shape[0]):
        for c in range((rows + vector - 1) // vector):
            transpose_square(
                *(panels[c], (first + p * vector) * vector, vector),
                *(tile[p], c * vector * vector, vector),
            )


@jit
def subtract(tile: Any, terms: Any, rows: int) -> None:
    """Take number from number."""
    for p in range(tile.shape[0]):
        out, other = tile[p], terms[p]
        for d in range(rows):
            put(out, d, row(out, d) - row(other, d))


@jit
def multiply_rows(tile: Any, factors: Any, rows: int) -> None:
    """Multiply number by number."""
    for p in range(tile.shape[0]):
        out, other = tile[p], factors[p]
        for d in range(rows):
            put(out, d, row(out, d) * row(other, d))


@jit
def standardize(tile: Any, bias: Any, inverse_std: Any, dim: int, eps: Any) -> None:
    """Add the bias and give each token zero mean and unit biased variance; keep 1 / std.

    The variance is that of the centred values: E[z^2] - E[z]^2 loses all digits for small spreads.
    """
    vector, per_dim, one = vector_length(tile), number(1.0 / dim, tile), number(1.0, tile)
    even = dim // 2 * 2
    for p in range(tile.shape[0]):
        z = tile[p]
        first, second = zeros(tile), zeros(tile)  # two sums, for neither has to wait for the other
        for d in range(0, even, 2):
            left, right = row(z, d) + spread(bias, d), row(z, d + 1) + spread(bias, d + 1)
            put(z, d, left)
            put(z, d + 1, right)
            first += left
            second += right
        for d in range(even, dim):
            left = row(z, d) + spread(bias, d)
            put(z, d, left)
            first += left
        mean = (first + second) * per_dim
        first, second = zeros(tile), zeros(tile)
        for d in range(0, even, 2):
            left, right = row(z, d) - mean, row(z, d + 1) - mean
            first += left * left
            second += right * right
        for d in range(even, dim):
            left = row(z, d) - mean
            first += left * left
        scale = one / root_of((first + second) * per_dim + eps)
        store(inverse_std, p * vector, scale)
        for d in range(dim):
            put(z, d, (row(z, d) - mean) * scale)


@jit
def activate(tile: Any, bias: Any, slopes: Any, curvatures: Any, rows: int) -> None:
    """Replace z by gelu(z + bias), and keep gelu' and gelu''."""
    for p in range(tile.shape[0]):
        z, first, second = tile[p], slopes[p], curvatures[p]
        for o in range(rows):
            value, slope, curvature = gelu_terms(row(z, o) + spread(bias, o))
            put(z, o, value)
            put(first, o, slope)
            put(second, o, curvature)


@jit
def activate_with_slopes(tile: Any, bias: Any, slopes: Any, rows: int) -> None:
    """Replace z by gelu(z + bias), and keep gelu'."""
    for p in range(tile.shape[0]):
        z, first = tile[p], slopes[p]
        for o in range(rows):
            value, slope, _ = gelu_terms(row(z, o) + spread(bias, o))
            put(z, o, value)
            put(first, o, slope)
