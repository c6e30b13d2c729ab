"""TTT-Linear over a range of heads: one mini-batch after the other, the state in the cache."""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import (
    BIAS,
    LN_B,
    LN_W,
    MASK,
    aligned_zeros,
    ask_for,
    fill_rows,
    fill_zeros,
    keep_state,
    load_head,
    load_tokens,
    number,
    padded,
    prefetch_rows,
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
        kept_weights: W every `interval` mini-batches, at least the first, (B, H, N, D, D), or
            empty.
        kept_biases: (B, H, N, D).
    """

    output: Any
    weight: Any
    bias: Any
    gradients: Any
    kept_weights: Any
    kept_biases: Any


GROUP = 8
"""Heads that are read side by side, mini-batch by mini-batch: their tokens lie side by side in
memory, and their states, 16 KiB each at D = 64, still fit the second cache."""


class States(NamedTuple):
    """Scratch memory for the states of a group: W, (GROUP, D', D'), and (GROUP, 4, D')."""

    weights: Any
    rows: Any


def make_states(dim: int, like: np.ndarray) -> States:
    """Allocate the states of a group; not compiled."""
    width = padded(dim, like)
    return States(
        aligned_zeros((GROUP, width, width), like), aligned_zeros((GROUP, 4, width), like)
    )


@entry
def scan(
    sequence: Any, outputs: Any, tiles: Any, states: Any, first: int, last: int, interval: int
) -> None:
    """Read all tokens of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments.
        outputs: filled in.
        tiles: scratch memory, shared.
        states: scratch memory.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches between the states that are kept.
    """
    heads = sequence.ln_w.shape[0]
    weights, rows = states
    begin = first
    while begin < last:
        end = min(last, begin + GROUP, (begin // heads + 1) * heads)  # of one sequence
        for program in range(begin, end):
            place = program - begin
            load_head(sequence, weights[place], rows[place], program // heads, program % heads)
        read_group(sequence, outputs, tiles, weights, rows, begin, end, interval)
        begin = end


@jit
def read_group(
    sequence: Any,
    outputs: Any,
    tiles: Any,
    weights: Any,
    rows: Any,
    begin: int,
    end: int,
    interval: int,
) -> None:
    """Read all tokens of some heads of one sequence, from states (GROUP, ...)."""
    heads, dim = sequence.ln_w.shape
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    complete = tokens // size
    for start in range(0, tokens, size):
        count = min(size, tokens - start)
        for program in range(begin, end):
            batch, head = program // heads, program % heads
            weight, row = weights[program - begin], rows[program - begin]
            kept = start // size // interval
            begins = start == kept * interval * size and (count == size or start == 0)
            if begins and outputs.kept_biases.shape[0] > 0:
                keep_state(
                    outputs.kept_weights[batch, head, kept],
                    outputs.kept_biases[batch, head, kept],
                    weight,
                    row,
                    dim,
                )
            load_tokens(sequence, tiles, batch, head, start, count)
            first_row = (batch * tokens + start) * heads + head
            following = program + 1 if program + 1 < end else begin
            there = start if program + 1 < end else min(start + size, tokens - size)
            prefetch_rows(outputs.output, first_row * dim, heads * dim, count, dim)
            ask_for(sequence, 0, following, there, size)
            learn(sequence, tiles, weight, row, count)
            ask_for(sequence, 1, following, there, size)
            answer(sequence, tiles, weight, row, count)
            ask_for(sequence, 2, following, there, size)
            write_output(tiles, row, outputs.output, first_row, heads, count, dim)
            if count == size:
                if len(outputs.gradients) > 0:
                    at = (program * complete * size + start) * dim
                    store_tokens(outputs.gradients, tiles.gradients, at, dim, size, dim)
                descend(sequence, tiles, weight, row, size)
    for program in range(begin, end):
        batch, head = program // heads, program % heads
        place = program - begin
        keep_state(
            outputs.weight[batch, head], outputs.bias[batch, head], weights[place], rows[place], dim
        )


@jit
def learn(sequence: Any, tiles: Any, weight: Any, rows: Any, count: int) -> None:
    """Compute the gradients of the inner loss: z = k W + b, g = d/dz 0.5 ||LN(z) - (v - k)||^2."""
    dim, width = sequence.ln_w.shape[1], weight.shape[1]
    vector = vector_length(tiles.keys)
    normed, gradients = tiles.normed, tiles.gradients
    fill_rows(normed, rows, BIAS, count)
    multiply_add(normed, tiles.keys, width, 1, weight, count, dim, width)
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
def answer(sequence: Any, tiles: Any, weight: Any, rows: Any, count: int) -> None:
    """Compute q W_i + b_i in dual form, standardized: q W + b - (eta * (1 + q k^T)) g."""
    dim, width, tokens = sequence.ln_w.shape[1], weight.shape[1], tiles.causal.shape[1]
    vector, one = vector_length(tiles.keys), number(1.0, tiles.keys)
    attention, corrections = tiles.attention, tiles.corrections
    fill_zeros(attention, count)
    multiply_add(attention, tiles.queries, width, 1, tiles.keys_by_feature, count, dim, tokens)
    for i in range(count):
        eta = -sequence.token_eta[i]
        for j in range(0, tokens, vector):
            step = load(tiles.rates, 0, j) * load(tiles.causal, i, j) * eta
            store(corrections, i, j, (load(attention, i, j) + one) * step)
    fill_rows(tiles.answers, rows, BIAS, count)
    multiply_add(tiles.answers, tiles.queries, width, 1, weight, count, dim, width)
    multiply_add(tiles.answers, corrections, tokens, 1, tiles.gradients, count, count, width)
    standardize(tiles.answers, tiles.answer_inverse_std, rows, count, dim, sequence.eps)


@jit
def write_output(
    tiles: Any, rows: Any, output: Any, first_row: int, heads: int, count: int, dim: int
) -> None:
    """Write q + LN(answer) into rows of D numbers, every `heads`-th from `first_row` on."""
    vector = vector_length(output)
    whole = dim // vector * vector
    for i in range(count):
        at = (first_row + i * heads) * dim
        for d in range(0, whole, vector):
            normed = load(rows, LN_W, d) * load(tiles.answers, i, d) + load(rows, LN_B, d)
            store(output, 0, at + d, load(tiles.queries, i, d) + normed)
        for d in range(whole, dim):
            normed = rows[LN_W, d] * tiles.answers[i, d] + rows[LN_B, d]
            output[at + d] = tiles.queries[i, d] + normed


@jit
def descend(sequence: Any, tiles: Any, weight: Any, rows: Any, count: int) -> None:
    """Take the step that ends a mini-batch: W - (e * k)^T g, b - e^T g, e = last row of eta."""
    dim, width = sequence.ln_w.shape[1], weight.shape[1]
    bias_step(sequence, tiles, rows, count)
    multiply_add(weight, tiles.keys, 1, width, tiles.descents, dim, count, width)


@jit
def bias_step(sequence: Any, tiles: Any, rows: Any, count: int) -> None:
    """Compute -e_j g_j of each token, and add their sum to the bias."""
    width = rows.shape[1]
    last_eta = -sequence.token_eta[count - 1]
    for d in range(0, width, vector_length(tiles.keys)):
        total = load(rows, BIAS, d)
        for i in range(count):
            descent = load(tiles.gradients, i, d) * (tiles.rates[0, i] * last_eta)
            store(tiles.descents, i, d, descent)
            total += descent
        store(rows, BIAS, d, total)
