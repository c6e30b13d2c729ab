"""TTT-Linear over a range of heads: one mini-batch after the other, the state in the cache."""

from typing import Any

import numpy as np

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import load_tokens, make_tiles, padded, prefetch_tokens, set_rows, standardize


@jit
def scan(sequence: Any, outputs: Any, first: int, last: int, interval: int) -> None:
    """Read all tokens of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments.
        outputs: `linear.Outputs`, filled in.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches between the states that are kept; 0 keeps the gradients g instead.
    """
    heads, dim = sequence.ln_w.shape
    tokens = sequence.lr.shape[1]
    size = len(sequence.token_eta)
    complete = tokens // size
    tiles = make_tiles(size, dim, sequence.lr)
    width = padded(dim, sequence.lr)
    weight, bias = np.zeros((width, width), sequence.lr.dtype), np.zeros(dim, sequence.lr.dtype)
    for program in range(first, last):
        batch, head = program // heads, program % heads
        start_state(sequence, weight, bias, batch, head)
        for number in range(complete):
            if interval > 0 and number % interval == 0:
                outputs.kept_weights[batch, head, number // interval] = weight[:dim, :dim]
                outputs.kept_biases[batch, head, number // interval] = bias
            load_tokens(sequence, tiles, batch, head, number * size, size)
            if number + 1 < complete:
                prefetch_tokens(sequence, batch, head, (number + 1) * size, size)
            learn(sequence, tiles, weight, bias, head, size)
            answer(sequence, tiles, weight, bias, size)
            write_output(sequence, tiles, outputs.output, batch, head, number * size, size)
            if interval == 0 and outputs.gradients.shape[2] > 0:
                save_gradients(tiles, outputs.gradients, batch, head, number * size, size)
            descend(tiles, weight, bias, sequence.token_eta[size - 1], size, dim)
        rest = tokens - complete * size
        if rest > 0:
            load_tokens(sequence, tiles, batch, head, complete * size, rest)
            learn(sequence, tiles, weight, bias, head, rest)
            answer(sequence, tiles, weight, bias, rest)
            write_output(sequence, tiles, outputs.output, batch, head, complete * size, rest)
        outputs.weight[batch, head] = weight[:dim, :dim]
        outputs.bias[batch, head] = bias


@jit
def start_state(sequence: Any, weight: Any, bias: Any, batch: int, head: int) -> None:
    """Load W0 and b0 of one head."""
    dim = len(bias)
    row = batch if sequence.weight.shape[0] > 1 else 0
    weight[:dim, :dim] = sequence.weight[row, head]
    row = batch if sequence.bias.shape[0] > 1 else 0
    bias[:] = sequence.bias[row, head]


@jit
def learn(sequence: Any, tiles: Any, weight: Any, bias: Any, head: int, count: int) -> None:
    """Compute the gradients of the inner loss: z = k W + b, g = d/dz 0.5 ||LN(z) - (v - k)||^2."""
    dim = len(bias)
    width = weight.shape[1]
    set_rows(tiles.normed, bias, count)
    multiply_add(tiles.normed, tiles.keys, width, 1, weight, count, dim, width)
    standardize(tiles.normed, tiles.inverse_std, count, dim, sequence.eps)
    ln_w, ln_b = sequence.ln_w[head], sequence.ln_b[head]
    zero = sequence.eps * 0
    for i in range(count):
        normed, gradient, target = tiles.normed[i], tiles.gradients[i], tiles.targets[i]
        total, projection = zero, zero
        for d in range(dim):
            upstream = ln_w[d] * (ln_w[d] * normed[d] + ln_b[d] - target[d])
            gradient[d] = upstream
            total += upstream
            projection += upstream * normed[d]
        mean, projection = total / dim, projection / dim
        scale = tiles.inverse_std[i]
        for d in range(dim):
            gradient[d] = scale * (gradient[d] - mean - normed[d] * projection)


@jit
def answer(sequence: Any, tiles: Any, weight: Any, bias: Any, count: int) -> None:
    """Compute q W_i + b_i in dual form, standardized: q W + b - (eta * (1 + q k^T)) g."""
    dim = len(bias)
    rows, width = tiles.attention.shape[1], weight.shape[1]
    tiles.attention[:] = 0
    multiply_add(
        tiles.attention, tiles.queries, width, 1, tiles.keys_by_feature, count, dim, rows
    )
    for i in range(count):
        eta = sequence.token_eta[i]
        for j in range(i + 1):
            tiles.corrections[i, j] = -(1 + tiles.attention[i, j]) * (eta * tiles.rates[j])
        for j in range(i + 1, count):
            tiles.corrections[i, j] = 0
    set_rows(tiles.answers, bias, count)
    multiply_add(tiles.answers, tiles.queries, width, 1, weight, count, dim, width)
    multiply_add(tiles.answers, tiles.corrections, rows, 1, tiles.gradients, count, count, width)
    standardize(tiles.answers, tiles.answer_inverse_std, count, dim, sequence.eps)


@jit
def write_output(
    sequence: Any, tiles: Any, output: Any, batch: int, head: int, start: int, count: int
) -> None:
    """Write q + LN(answer)."""
    ln_w, ln_b = sequence.ln_w[head], sequence.ln_b[head]
    for i in range(count):
        for d in range(len(ln_w)):
            normed = ln_w[d] * tiles.answers[i, d] + ln_b[d]
            output[batch, start + i, head, d] = tiles.queries[i, d] + normed


@jit
def save_gradients(
    tiles: Any, gradients: Any, batch: int, head: int, start: int, count: int
) -> None:
    """Keep g for the backward pass, which walks the state back with it."""
    for i in range(count):
        for d in range(gradients.shape[3]):
            gradients[batch, head, start + i, d] = tiles.gradients[i, d]


@jit
def descend(tiles: Any, weight: Any, bias: Any, last_eta: Any, count: int, dim: int) -> None:
    """Take the step that ends a mini-batch: W - (e * k)^T g, b - e^T g."""
    width = weight.shape[1]
    multiply_add(weight, tiles.steps, 1, width, tiles.gradients, dim, count, width)
    for i in range(count):
        step = last_eta * tiles.rates[i]
        for d in range(dim):
            bias[d] -= step * tiles.gradients[i, d]
