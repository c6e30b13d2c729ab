"""Tokens on their way from memory into tiles, and back.

In memory the features of a token are neighbours; in a tile the tokens of a feature are. Where all
lanes of a tile are tokens and all features whole vectors, they are transposed as they are loaded
and as they are stored; otherwise by way of rows of their own.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.tiles import (
    ANSWERS,
    INPUTS,
    OTHER,
    RATES,
    TARGETS,
    TOKENS,
    by_feature,
    by_token,
    number,
    subtract,
)
from ttt_kernels.cpu.vector import (
    LINE_BYTES,
    WHOLE_LINES,
    claim,
    load,
    prefetch,
    store,
    stream_square,
    transpose_square,
    vector_length,
)


class MiniBatch(NamedTuple):
    """Tokens of one head that are read together: a mini-batch, or the remainder.

    Attributes:
        batch: their sequence.
        head: their head.
        start: the first.
        count: how many.
        following: head and first token of the mini-batch that is read next.
    """

    batch: int
    head: int
    start: int
    count: int
    following: tuple[int, int]


@jit
def load_mini_batch(sequence: Any, tiles: Any, mini_batch: Any) -> None:
    """Fill the tiles with the tokens of a mini-batch."""
    dim, tokens = sequence.ln_w.shape[1], tiles.rows.shape[1]
    together, targets, keys = (
        tiles.by_token[TOKENS],
        tiles.single[TARGETS],
        tiles.layered[0, INPUTS],
    )
    q, k, v = sequence.steps[0], sequence.steps[1], sequence.steps[2]
    load_rows(together, 0, tokens, sequence.q, q, mini_batch, dim)
    load_rows(together, tokens, tokens, sequence.k, k, mini_batch, dim)
    by_feature(tiles.layered[0, ANSWERS], together, 0, dim)
    by_feature(keys, together, tokens, dim)
    load_tile(targets, tiles.by_token[OTHER], sequence.v, v, mini_batch, dim)
    subtract(targets, keys, dim)
    batch, head, start = mini_batch.batch, mini_batch.head, mini_batch.start
    for j in range(tokens):
        inside = j < mini_batch.count
        tiles.rows[RATES, j] = sequence.lr[batch, start + j, head] if inside else number(0.0, keys)


@jit
def load_rows(
    out: Any, first: int, tokens: int, source: Any, steps: Any, mini_batch: Any, dim: int
) -> None:
    """Read tokens of a flat array into the rows of panels by token, from the row `first` on.

    `steps` lead to the next sequence, token and head. What is missing to `tokens` is filled up with
    copies of the first.
    """
    vector, height = vector_length(out), out.shape[1] * vector_length(out)
    whole, place = dim // vector * vector, place_of(mini_batch, steps)
    for i in range(tokens):
        token, at = place + (i if i < mini_batch.count else 0) * steps[1], (first + i) * vector
        for d in range(0, whole, vector):
            store(out, at, load(source, token + d))
            at += height
        for d in range(whole, dim):
            out[whole // vector, first + i, d - whole] = source[token + d]
    ask_for_next(source, steps, mini_batch, tokens, dim)


@jit
def load_tile(tile: Any, rows: Any, source: Any, steps: Any, mini_batch: Any, dim: int) -> None:
    """Read tokens into a tile as `load_rows` does into rows; `rows` may be used on the way."""
    vector, place = vector_length(tile), place_of(mini_batch, steps)
    tokens = tile.shape[0] * vector
    if mini_batch.count < tokens or dim % vector:
        load_rows(rows, 0, tokens, source, steps, mini_batch, dim)
        by_feature(tile, rows, 0, dim)
        return
    for p in range(tile.shape[0]):
        for d in range(0, dim, vector):
            transpose_square(tile[p], d * vector, vector, source, place + d, steps[1])
        place += vector * steps[1]
    ask_for_next(source, steps, mini_batch, tokens, dim)


@jit
def place_of(mini_batch: Any, steps: Any) -> int:
    """Where the features of the first token lie."""
    batch, head, start = mini_batch.batch, mini_batch.head, mini_batch.start
    return batch * steps[0] + start * steps[1] + head * steps[2]


@jit
def ask_for_next(source: Any, steps: Any, mini_batch: Any, tokens: int, dim: int) -> None:
    """Ask for the tokens that are read after a mini-batch.

    They lie a page apart, so otherwise they would be waited for, one after the other.
    """
    head, start = mini_batch.following
    place = mini_batch.batch * steps[0] + start * steps[1] + head * steps[2]
    for i in range(tokens):
        for d in range(0, dim, LINE_BYTES // source.itemsize):
            prefetch(source, place + i * steps[1] + d)


@jit
def claim_tokens(out: Any, start: int, step: int, count: int, dim: int) -> None:
    """Ask for the memory that `store_tile` will write, unless that goes past the caches."""
    if WHOLE_LINES:
        return
    for i in range(count):
        for d in range(0, dim, LINE_BYTES // out.itemsize):
            claim(out, start + i * step + d)


@jit
def store_tile(out: Any, start: int, step: int, tile: Any, rows: Any, count: int, dim: int) -> None:
    """Write a tile into a flat array, `step` numbers from one token to the next.

    The array starts on the border of a line. `rows` may be used on the way.
    """
    vector, height = vector_length(tile), rows.shape[1] * vector_length(tile)
    if count == tile.shape[0] * vector and dim % vector == 0:
        for p in range(tile.shape[0]):
            place = start + p * vector * step
            for d in range(0, dim, vector):
                stream_square(out, place + d, step, tile[p], d * vector, vector)
        return
    by_token(rows, 0, tile, dim)
    whole = dim // vector * vector
    for i in range(count):
        place, at = start + i * step, i * vector
        for d in range(0, whole, vector):
            store(out, place + d, load(rows, at))
            at += height
        for d in range(whole, dim):
            out[place + d] = rows[whole // vector, i, d - whole]


@jit
def next_of(program: int, begin: int, end: int, heads: int, start: int, ahead: int) -> Any:
    """The head and the first token of the mini-batch after one of a group of heads."""
    if program + 1 < end:
        return (program + 1) % heads, start
    return begin % heads, start + ahead
