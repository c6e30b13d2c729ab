"""TTT-Linear over a range of heads: one mini-batch after the other, the state in the cache."""

from typing import Any, NamedTuple

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import (
    BIAS,
    LN_B,
    LN_W,
    MASK,
    fill_rows,
    fill_zeros,
    load_head,
    load_tokens,
    make_tiles,
    number,
    prefetch_tokens,
    standardize,
    store_tokens,
)
from ttt_kernels.cpu.vector import load, store, total_of, vector_length, zeros


class Outputs(NamedTuple):
    """Arrays that `scan` fills.

    Attributes:
        output: (B * T * H * D,), the numbers of (B, T, H, D).
        weight: after the last complete mini-batch, (B, H, D, D).
        bias: (B, H, D).
        gradients: g of every token of a complete mini-batch, the numbers of (B, H, T', D), or
            empty if they are not wanted.
        kept_weights: W every `interval` mini-batches, (B, H, N, D, D), or empty.
        kept_biases: (B, H, N, D).
    """

    output: Any
    weight: Any
    bias: Any
    gradients: Any
    kept_weights: Any
    kept_biases: Any


@jit
def scan(sequence: Any, outputs: Any, first: int, last: int, interval: int) -> None:
    """Read all tokens of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments.
        outputs: filled in.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches between the states that are kept.
    """
    heads, dim = sequence.ln_w.shape
    tokens = sequence.lr.shape[1]
    size = len(sequence.token_eta)
    complete = tokens // size
    tiles = make_tiles(size, dim, sequence.lr, True)
    for program in range(first, last):
        batch, head = program // heads, program % heads
        load_head(sequence, tiles, batch, head)
        for number_ in range(complete):
            start = number_ * size
            if outputs.kept_biases.shape[0] > 0 and number_ % interval == 0:
                outputs.kept_weights[batch, head, number_ // interval] = tiles.weight[:dim, :dim]
                outputs.kept_biases[batch, head, number_ // interval] = tiles.rows[BIAS, :dim]
            load_tokens(sequence, tiles, batch, head, start, size)
            following = size if number_ + 1 < complete else 0
            ask_for(sequence, 0, batch, head, start + size, following)
            learn(sequence, tiles, size)
            ask_for(sequence, 1, batch, head, start + size, following)
            answer(sequence, tiles, size)
            ask_for(sequence, 2, batch, head, start + size, following)
            write_output(tiles, outputs.output, (batch * tokens + start) * heads + head, heads, size, dim)
            if len(outputs.gradients) > 0:
                at = (program * complete * size + start) * dim
                store_tokens(outputs.gradients, tiles.gradients, at, dim, size, dim)
            descend(sequence, tiles, size)
        start, rest = complete * size, tokens - complete * size
        if rest > 0:
            load_tokens(sequence, tiles, batch, head, start, rest)
            learn(sequence, tiles, rest)
            answer(sequence, tiles, rest)
            write_output(tiles, outputs.output, (batch * tokens + start) * heads + head, heads, rest, dim)
        outputs.weight[batch, head] = tiles.weight[:dim, :dim]
        outputs.bias[batch, head] = tiles.rows[BIAS, :dim]


@jit
def ask_for(sequence: Any, which: int, batch: int, head: int, start: int, count: int) -> None:
    steps = sequence.steps[which]
    at = batch * steps[0] + start * steps[1] + head * steps[2]
    source = sequence.q if which == 0 else (sequence.k if which == 1 else sequence.v)
    prefetch_tokens(source, at, steps[1], count, sequence.ln_w.shape[1])


@jit
def learn(sequence: Any, tiles: Any, count: int) -> None:
    """Compute the gradients of the inner loss: z = k W + b, g = d/dz 0.5 ||LN(z) - (v - k)||^2."""
    dim, width = sequence.ln_w.shape[1], tiles.weight.shape[1]
    vector = vector_length(tiles.keys)
    rows, normed, gradients = tiles.rows, tiles.normed, tiles.gradients
    fill_rows(normed, rows, BIAS, count)
    multiply_add(normed, tiles.keys, width, 1, tiles.weight, count, dim, width)
    standardize(normed, tiles.inverse_std, rows, count, dim, sequence.eps)
    per_dim = number(1.0 / dim, tiles.keys)
    for i in range(count):
        total, projection = zeros(normed), zeros(normed)
        for d in range(0, width, vector):
            x, scale = load(normed, i, d), load(rows, LN_W, d)
            upstream = scale * (scale * x + load(rows, LN_B, d) - load(tiles.targets, i, d))
            store(gradients, i, d, upstream)
            total += upstream
            projection += upstream * x
        mean, share = total_of(total) * per_dim, total_of(projection) * per_dim
        inverse_std = tiles.inverse_std[i]
        for d in range(0, width, vector):
            centred = (load(gradients, i, d) - mean) * load(rows, MASK, d)
            store(gradients, i, d, (centred - load(normed, i, d) * share) * inverse_std)


@jit
def answer(sequence: Any, tiles: Any, count: int) -> None:
    """Compute q W_i + b_i in dual form, standardized: q W + b - (eta * (1 + q k^T)) g."""
    dim, width, tokens = sequence.ln_w.shape[1], tiles.weight.shape[1], tiles.causal.shape[1]
    vector, one = vector_length(tiles.keys), number(1.0, tiles.keys)
    attention, corrections = tiles.attention, tiles.corrections
    fill_zeros(attention, count)
    multiply_add(attention, tiles.queries, width, 1, tiles.keys_by_feature, count, dim, tokens)
    for i in range(count):
        eta = -sequence.token_eta[i]
        for j in range(0, tokens, vector):
            step = load(tiles.rates, 0, j) * load(tiles.causal, i, j) * eta
            store(corrections, i, j, (load(attention, i, j) + one) * step)
    fill_rows(tiles.answers, tiles.rows, BIAS, count)
    multiply_add(tiles.answers, tiles.queries, width, 1, tiles.weight, count, dim, width)
    multiply_add(tiles.answers, corrections, tokens, 1, tiles.gradients, count, count, width)
    standardize(
        tiles.answers, tiles.answer_inverse_std, tiles.rows, count, dim, sequence.eps
    )


@jit
def write_output(
    tiles: Any, output: Any, first_row: int, heads: int, count: int, dim: int
) -> None:
    """Write q + LN(answer) into rows of D numbers, every `heads`-th from `first_row` on."""
    vector = vector_length(output)
    whole = dim // vector * vector
    for i in range(count):
        at = (first_row + i * heads) * dim
        for d in range(0, whole, vector):
            normed = load(tiles.rows, LN_W, d) * load(tiles.answers, i, d) + load(tiles.rows, LN_B, d)
            store(output, 0, at + d, load(tiles.queries, i, d) + normed)
        for d in range(whole, dim):
            normed = tiles.rows[LN_W, d] * tiles.answers[i, d] + tiles.rows[LN_B, d]
            output[at + d] = tiles.queries[i, d] + normed


@jit
def descend(sequence: Any, tiles: Any, count: int) -> None:
    """Take the step that ends a mini-batch: W - (e * k)^T g, b - e^T g, e = last row of eta."""
    dim, width = sequence.ln_w.shape[1], tiles.weight.shape[1]
    last_eta = -sequence.token_eta[count - 1]
    for d in range(0, width, vector_length(tiles.keys)):
        total = load(tiles.rows, BIAS, d)
        for i in range(count):
            descent = load(tiles.gradients, i, d) * (tiles.rates[0, i] * last_eta)
            store(tiles.descents, i, d, descent)
            total += descent
        store(tiles.rows, BIAS, d, total)
    multiply_add(tiles.weight, tiles.keys, 1, width, tiles.descents, dim, count, width)
