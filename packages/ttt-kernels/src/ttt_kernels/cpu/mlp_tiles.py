"""Scratch memory of the scans over MLPs, and what is done to it row by row.

Tiles stand by feature: a row is one feature of all tokens of a mini-batch. So a product with a
weight reads the weight once and as it is, transposed or not; sums over features, as in a layer
norm, need no sums within a vector; and no transpose is wider than D where there are two layers.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.mlp_state import Model, padded
from ttt_kernels.cpu.tiles import Sequence, aligned_zeros, number, transpose
from ttt_kernels.cpu.vector import (
    load,
    prefetch,
    root_of,
    store,
    total_of,
    vector_length,
    zeros,
)

# Tiles of every layer. First x_l, the inputs on the way of the keys; gelu' and gelu'' between the
# layers there; g_l; g_{l+1} W_{l+1}^T; the inputs on the way of the queries, and gelu' there.
INPUTS, SLOPES, CURVATURES, GRADIENTS, PULLED, ANSWERS, ANSWER_SLOPES = range(7)
# Then gradients: of x_l, of g_l, of z_l on the way of the keys and on that of the queries.
DINPUTS, DGRADIENTS, DKEYS, DANSWERS = range(7, 11)
# Single tiles: v - k; the standardized z_L of keys and of queries; anything.
TARGETS, NORMED, ANSWER, SCALED = range(4)
# Gradients: of the output, then of q; of k, as far as through v - k; of the layer norm, where
# each token's lane holds a part of the sum over all mini-batches.
DOUTPUT, DTARGETS, DLN_W, DLN_B = range(4, 8)
# Tokens by tokens, of every layer, key j by query i: 1 + x_j . q_i; that times -eta_ij. In the
# first layer's place: -eta_ij for j <= i, else 0; the gradient of x_j . q_i; a transpose.
ATTENTIONS, CORRECTIONS, DESCENTS, DATTENTION, FLIPPED = range(5)
# Rows of one number for each token: lr_j; token_eta; 1 / std of z_L, keys and queries; gradients.
RATES, TOKEN_ETA, INVERSE_STD, ANSWER_INVERSE_STD, DRATES, DETA = range(6)
# Tiles by token.
KEYS, QUERIES, OTHER = range(3)
LN_W, LN_B = range(2)


class Tiles(NamedTuple):
    """Scratch memory for one mini-batch.

    M' is M rounded up, W' the wider of D and F rounded up. Tokens that fill up a mini-batch are
    copies of its first one with a learning rate of zero: nothing is learned from them, and they
    are no less finite than the others. Few arrays, because each is seven arguments to compile.

    Attributes:
        layered: (kinds, L, W', M').
        single: (kinds, W', M').
        squares: (kinds, L, M', M').
        rows: (kinds, M').
        by_token: (kinds, M', W').
        norm: layer norm of the head, (2, W').
    """

    layered: Any
    single: Any
    squares: Any
    rows: Any
    by_token: Any
    norm: Any


def make_tiles(sequence: Sequence, model: Model) -> Tiles:
    """Allocate tiles of zeros; not compiled. Pages that a pass leaves alone cost nothing."""
    like, size = sequence.lr, len(sequence.token_eta)
    tokens, width = padded(size), padded(max(model.dim, model.hidden))
    tiles = Tiles(
        aligned_zeros((11, model.layers, width, tokens), like),
        aligned_zeros((8, width, tokens), like),
        aligned_zeros((5, model.layers, tokens, tokens), like),
        aligned_zeros((6, tokens), like),
        aligned_zeros((3, tokens, width), like),
        aligned_zeros((2, width), like),
    )
    tiles.rows[TOKEN_ETA, :size] = sequence.token_eta
    return tiles


@jit
def load_norm(sequence: Any, tiles: Any, head: int) -> None:
    """Load the layer norm of a head."""
    for d in range(sequence.ln_w.shape[1]):
        tiles.norm[LN_W, d] = sequence.ln_w[head, d]
        tiles.norm[LN_B, d] = sequence.ln_b[head, d]


@jit
def load_mini_batch(
    sequence: Any, tiles: Any, batch: int, head: int, start: int, count: int, ahead: int
) -> None:
    """Fill the tiles with `count` tokens from `start` on; those `ahead` of them are next."""
    dim = sequence.ln_w.shape[1]
    load_tokens(
        tiles.by_token[OTHER], sequence.v, sequence.steps[2], batch, head, start, count, ahead, dim
    )
    load_tokens(
        tiles.by_token[QUERIES],
        sequence.q,
        sequence.steps[0],
        batch,
        head,
        start,
        count,
        ahead,
        dim,
    )
    load_tokens(
        tiles.by_token[KEYS], sequence.k, sequence.steps[1], batch, head, start, count, ahead, dim
    )
    targets, keys = tiles.single[TARGETS], tiles.layered[INPUTS, 0]
    transpose(targets, tiles.by_token[OTHER], tiles.rows.shape[1], dim)
    transpose(tiles.layered[ANSWERS, 0], tiles.by_token[QUERIES], tiles.rows.shape[1], dim)
    transpose(keys, tiles.by_token[KEYS], tiles.rows.shape[1], dim)
    tokens, descents = tiles.rows.shape[1], tiles.squares[DESCENTS, 0]
    for d in range(dim):
        for j in range(0, tokens, vector_length(keys)):
            store(targets, d, j, load(targets, d, j) - load(keys, d, j))
    for j in range(tokens):
        rate = sequence.lr[batch, start + j, head] if j < count else number(0.0, keys)
        tiles.rows[RATES, j] = rate
        for i in range(j, tokens):
            descents[j, i] = -tiles.rows[TOKEN_ETA, i] * rate


@jit
def load_tokens(
    out: Any,
    source: Any,
    steps: Any,
    batch: int,
    head: int,
    start: int,
    count: int,
    ahead: int,
    dim: int,
) -> None:
    """Read tokens of a flat array; `steps` lead to the next sequence, token and head.

    Those `ahead` tokens further on are read next. They lie a page apart, so without being asked
    for they would be waited for, one after the other.
    """
    vector = vector_length(out)
    whole = dim // vector * vector
    for i in range(out.shape[0]):
        token = start + (i if i < count else 0)
        place = batch * steps[0] + token * steps[1] + head * steps[2]
        for d in range(0, whole, vector):
            store(out, i, d, load(source, 0, place + d))
            prefetch(source, place + ahead * steps[1] + d)
        for d in range(whole, dim):
            out[i, d] = source[place + d]


@jit
def fill_biases(out: Any, biases: Any, rows: int) -> None:
    """Write the bias of each feature into all tokens; `biases` holds parts of it in its lanes."""
    vector, parts = vector_length(out), biases.shape[1]
    for o in range(rows):
        bias = biases[o, 0]
        if parts > 1:
            sums = zeros(out)
            for j in range(0, parts, vector):
                sums += load(biases, o, j)
            bias = total_of(sums)
        content = zeros(out) + bias
        for j in range(0, out.shape[1], vector):
            store(out, o, j, content)


@jit
def multiply_rows(out: Any, factors: Any, rows: int) -> None:
    """Multiply number by number."""
    for o in range(rows):
        for j in range(0, out.shape[1], vector_length(out)):
            store(out, o, j, load(out, o, j) * load(factors, o, j))


@jit
def standardize(tile: Any, inverse_std: Any, dim: int, eps: Any) -> None:
    """Give each token zero mean and unit biased variance, in place; keep 1 / std."""
    per_dim, one = number(1.0 / dim, tile), number(1.0, tile)
    for j in range(0, tile.shape[1], vector_length(tile)):
        total = zeros(tile)
        for d in range(dim):
            total += load(tile, d, j)
        mean = total * per_dim
        total = zeros(tile)
        for d in range(dim):
            centred = load(tile, d, j) - mean
            store(tile, d, j, centred)
            total += centred * centred
        scale = one / root_of(total * per_dim + eps)
        store(inverse_std, 0, j, scale)
        for d in range(dim):
            store(tile, d, j, load(tile, d, j) * scale)


@jit
def activate(tile: Any, slopes: Any, rows: int) -> None:
    """Replace z by gelu(z), and keep gelu'(z)."""
    for o in range(rows):
        for j in range(0, tile.shape[1], vector_length(tile)):
            value, slope, _ = gelu_terms(load(tile, o, j))
            store(tile, o, j, value)
            store(slopes, o, j, slope)


@jit
def add_rows(out: Any, terms: Any, rows: int) -> None:
    """Add number by number."""
    for o in range(rows):
        for j in range(0, out.shape[1], vector_length(out)):
            store(out, o, j, load(out, o, j) + load(terms, o, j))
