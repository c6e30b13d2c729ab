"""Scratch memory of the scans, and what is done to it row by row.

Everything is made of *panels*: rows of one vector, one after the other. In a tile a row is one
feature of as many tokens as a vector has lanes, and there are as many panels as a mini-batch needs.
So a product with a weight reads the weight once and as it is, transposed or not; sums over
features, as in a layer norm, need no sums within a vector; and the distance from row to row is a
constant of the compiled code, so that addresses need no registers.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.vector import (
    VECTOR_BYTES,
    claim,
    load,
    prefetch,
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
_LINE_BYTES = 64

# Tiles of every layer, and of what would be another one behind the last: x_l, the inputs on the way
# of the keys, which are the standardized z_L behind the last layer. What stands side by side is
# used side by side: the factors of the gradient of a weight, first those that stand by its input,
# (q_l, dPULLED, x_l), then those by its output, (d of y_l, d of z_l).
ANSWERS, DPULLED, INPUTS, DANSWERS, DKEYS = range(5)
# gelu' and gelu'' between the layers on the way of the keys, and gelu' on that of the queries; g_l;
# g_{l+1} W_{l+1}^T; gradients of x_l and of g_l.
SLOPES, CURVATURES, ANSWER_SLOPES, GRADIENTS, PULLED, DINPUTS, DGRADIENTS = range(5, 12)
# Single tiles: v - k; anything. Gradients: of the output, then of q; of k, as far as through v - k;
# of the layer norm, where each token's lane holds its part.
TARGETS, SCALED, DOUTPUT, DTARGETS, DLN_W, DLN_B = range(6)
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


def aligned_zeros(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """Zeros of an array's type from a border of a cache line on, which NumPy does not promise.

    Otherwise most vectors lie across a border, and are read twice.
    """
    length = math.prod(shape) * like.itemsize
    room = np.zeros(length + _LINE_BYTES, np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    return room[start : start + length].view(like.dtype).reshape(shape)


def make_tiles(sequence: Sequence, model: Model) -> Tiles:
    """Allocate tiles of zeros; not compiled. Pages that a pass leaves alone cost nothing."""
    like, size = sequence.lr, len(sequence.token_eta)
    lanes = VECTOR_BYTES // like.itemsize
    panels = -(-size // lanes)
    tokens, width = panels * lanes, padded(max(model.dim, model.hidden))
    tiles = Tiles(
        aligned_zeros((model.layers + 1, 12, panels, width, lanes), like),
        aligned_zeros((6, panels, width, lanes), like),
        aligned_zeros((6, model.layers, panels, tokens, lanes), like),
        aligned_zeros((4, tokens), like),
        aligned_zeros((3, width // lanes, 3 * tokens, lanes), like),
    )
    token_eta = np.zeros(tokens, like.dtype)
    token_eta[:size] = sequence.token_eta
    causal = np.triu(np.ones((tokens, tokens))).reshape(tokens, panels, lanes).swapaxes(0, 1)
    tiles.squares[CAUSAL, 0] = causal
    tiles.squares[STEPS, 0] = causal * token_eta.reshape(panels, 1, lanes)
    return tiles


@jit
def number(value: float, like: Any) -> Any:
    """Give a constant the array's type; beside an integer or a float64, float32 would widen."""
    return like.dtype.type(value)


@jit
def load_mini_batch(
    sequence: Any, tiles: Any, batch: int, head: int, start: int, count: int, following: Any
) -> None:
    """Fill the tiles with `count` tokens from `start` on; what is `following` is read next."""
    dim, tokens = sequence.ln_w.shape[1], tiles.rows.shape[1]
    together, values = tiles.by_token[TOKENS], tiles.by_token[OTHER]
    q, k, v = sequence.steps[0], sequence.steps[1], sequence.steps[2]
    load_tokens(together, 0, tokens, sequence.q, q, batch, head, start, count, following, dim)
    load_tokens(together, tokens, tokens, sequence.k, k, batch, head, start, count, following, dim)
    targets, keys = tiles.single[TARGETS], tiles.layered[0, INPUTS]
    by_feature(tiles.layered[0, ANSWERS], together, 0, dim)
    by_feature(keys, together, tokens, dim)
    load_features(targets, values, sequence.v, v, batch, head, start, count, following, dim)
    subtract(targets, keys, dim)
    for j in range(tokens):
        inside = j < count
        tiles.rows[RATES, j] = sequence.lr[batch, start + j, head] if inside else number(0.0, keys)


@jit
def load_tokens(
    out: Any,
    first: int,
    tokens: int,
    source: Any,
    steps: Any,
    batch: int,
    head: int,
    start: int,
    count: int,
    following: Any,
    dim: int,
) -> None:
    """Read tokens of a flat array into the rows of panels by token, from the row `first` on.

    `steps` lead to the next sequence, token and head. The tokens `following`, a head and its first
    token, are read next. They lie a page apart, so without being asked for they would be waited
    for, one after the other.
    """
    vector, line = vector_length(out), _LINE_BYTES // out.itemsize
    whole, height = dim // vector * vector, out.shape[1] * vector
    ahead = (following[0] - head) * steps[2] + (following[1] - start) * steps[1]
    for i in range(tokens):
        place = batch * steps[0] + (start + (i if i < count else 0)) * steps[1] + head * steps[2]
        at = (first + i) * vector
        for d in range(0, whole, vector):
            store(out, at, load(source, place + d))
            at += height
        for d in range(0, dim, line):
            prefetch(source, place + ahead + d)
        for d in range(whole, dim):
            out[whole // vector, first + i, d - whole] = source[place + d]


@jit
def load_features(
    tile: Any,
    room: Any,
    source: Any,
    steps: Any,
    batch: int,
    head: int,
    start: int,
    count: int,
    following: Any,
    dim: int,
) -> None:
    vector, tokens, line = vector_length(tile), tile.shape[0] * vector_length(tile), _LINE_BYTES // tile.itemsize
    if count < tokens or dim % vector:
        load_tokens(room, 0, tokens, source, steps, batch, head, start, count, following, dim)
        by_feature(tile, room, 0, dim)
        return
    place, step = batch * steps[0] + start * steps[1] + head * steps[2], steps[1]
    for p in range(tile.shape[0]):
        for d in range(0, dim, vector):
            transpose_square(tile[p], d * vector, vector, source, place + p * vector * step + d, step)
    ahead = (following[0] - head) * steps[2] + (following[1] - start) * steps[1]
    for i in range(tokens):
        for d in range(0, dim, line):
            prefetch(source, place + i * step + ahead + d)


@jit
def store_features(out: Any, start: int, step: int, room: Any, tile: Any, count: int, dim: int) -> None:
    vector = vector_length(tile)
    if count < tile.shape[0] * vector or dim % vector:
        by_token(room, 0, tile, dim)
        store_tokens(out, start, step, room, 0, count, dim)
        return
    for p in range(tile.shape[0]):
        for d in range(0, dim, vector):
            transpose_square(out, start + p * vector * step + d, step, tile[p], d * vector, vector)


@jit
def claim_tokens(out: Any, start: int, step: int, count: int, dim: int) -> None:
    """Ask for the memory that `store_tokens` will write; until it is near, a store is not done."""
    for i in range(count):
        for d in range(0, dim, _LINE_BYTES // out.itemsize):
            claim(out, start + i * step + d)


@jit
def store_tokens(
    out: Any, start: int, step: int, by_token: Any, first: int, count: int, dim: int
) -> None:
    """Write rows of panels by token into a flat array, `step` numbers from one to the next."""
    vector = vector_length(out)
    whole, height = dim // vector * vector, by_token.shape[1] * vector
    for i in range(count):
        place, at = start + i * step, (first + i) * vector
        for d in range(0, whole, vector):
            store(out, place + d, load(by_token, at))
            at += height
        for d in range(whole, dim):
            out[place + d] = by_token[whole // vector, first + i, d - whole]


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
def next_of(program: int, begin: int, end: int, heads: int, start: int, ahead: int) -> Any:
    """The head and the first token of the mini-batch after one of a group of heads."""
    if program + 1 < end:
        return (program + 1) % heads, start
    return begin % heads, start + ahead


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
