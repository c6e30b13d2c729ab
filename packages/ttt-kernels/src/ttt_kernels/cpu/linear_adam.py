"""TTT-Linear whose state crosses the border of a mini-batch by a step of Adam.

The step is a constant to the outer gradient (docs/adr/0003), so no mini-batch waits for the
gradient of a later one: the backward pass reads forward, once more, and needs nothing kept.
"""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.linear_backward import (
    end_head,
    load_upstream,
    pick,
    start_head,
    write_gradients,
)
from ttt_kernels.cpu.linear_forward import answer, bias_step, learn, write_output
from ttt_kernels.cpu.linear_gradients import mini_batch_gradients
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import (
    BIAS,
    aligned_zeros,
    fill_zeros,
    keep_state,
    load_head,
    load_tokens,
    number,
    padded,
    transpose,
)


class Adam(NamedTuple):
    """Where Adam stands, and how it moves.

    Attributes:
        first_weight: first moment of W, (B, H, D, D); changed in place, as all of them.
        first_bias: (B, H, D).
        second_weight: second moment of W, (B, H, D, D).
        second_bias: (B, H, D).
        step: updates made so far.
        lr: step size.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the root of the second moment.
    """

    first_weight: Any
    first_bias: Any
    second_weight: Any
    second_bias: Any
    step: Any
    lr: Any
    beta1: Any
    beta2: Any
    eps: Any


class Descent(NamedTuple):
    """Scratch memory for what Adam is handed: of W, (D', D'), and in the place of b, (4, D')."""

    weight: Any
    rows: Any


def make_descent(dim: int, like: np.ndarray) -> Descent:
    """Allocate what Adam is handed; not compiled."""
    width = padded(dim, like)
    return Descent(aligned_zeros((width, width), like), aligned_zeros((4, width), like))


@entry
def adam_scan(
    sequence: Any,
    adam: Any,
    outputs: Any,
    tiles: Any,
    states: Any,
    descent: Any,
    first: int,
    last: int,
) -> None:
    """Read all tokens of the heads `first` to `last - 1`; see `linear_forward.scan`."""
    heads, dim = sequence.ln_w.shape
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    weight, rows = states.weights[0], states.rows[0]
    for program in range(first, last):
        batch, head = program // heads, program % heads
        load_head(sequence, weight, rows, batch, head)
        for start in range(0, tokens, size):
            count = min(size, tokens - start)
            load_tokens(sequence, tiles, batch, head, start, count)
            learn(sequence, tiles, weight, rows, count)
            answer(sequence, tiles, weight, rows, count)
            first_row = (batch * tokens + start) * heads + head
            write_output(tiles, rows, outputs.output, first_row, heads, count, dim)
            if count == size:
                take_step(sequence, adam, tiles, weight, rows, descent, program, start)
        keep_state(outputs.weight[batch, head], outputs.bias[batch, head], weight, rows, dim)


@entry
def adam_scan_back(
    sequence: Any,
    adam: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    grads: Any,
    group: Any,
    descent: Any,
    first: int,
    last: int,
) -> None:
    """Compute the gradients of the heads `first` to `last - 1`; see `linear_backward.scan_back`.

    `adam` is as before the forward pass.
    """
    heads, dim = sequence.ln_w.shape
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    head = pick(group, 0)
    for program in range(first, last):
        start_head(sequence, upstream, head, program)
        for start in range(0, tokens, size):
            count = min(size, tokens - start)
            load_tokens(sequence, tiles, program // heads, program % heads, start, count)
            learn(sequence, tiles, head.weight, head.rows, count)
            answer(sequence, tiles, head.weight, head.rows, count)
            transpose(head.by_output, head.weight, dim, dim)
            load_upstream(upstream.output, grads, program, start, count, tokens, heads, dim)
            mini_batch_gradients(sequence, tiles, grads, head, count, False)
            write_gradients(gradients, tiles, grads, head, program, start, count, False)
            if count == size:
                take_step(sequence, adam, tiles, head.weight, head.rows, descent, program, start)
        end_head(gradients, head, program, heads)


@jit
def take_step(
    sequence: Any,
    adam: Any,
    tiles: Any,
    weight: Any,
    rows: Any,
    descent: Any,
    program: int,
    start: int,
) -> None:
    """Hand the eta-weighted gradients of a complete mini-batch to Adam."""
    heads, dim = sequence.ln_w.shape
    size, width = len(sequence.token_eta), weight.shape[1]
    batch, head = program // heads, program % heads
    fill_zeros(descent.weight, width)
    fill_zeros(descent.rows, 4)
    bias_step(sequence, tiles, descent.rows, size)
    multiply_add(descent.weight, tiles.keys, 1, width, tiles.descents, dim, size, width)
    step = adam.step + start // size + 1
    for d in range(dim):
        move(
            adam,
            step,
            weight[d],
            descent.weight[d],
            adam.first_weight[batch, head, d],
            adam.second_weight[batch, head, d],
        )
    move(
        adam,
        step,
        rows[BIAS],
        descent.rows[BIAS],
        adam.first_bias[batch, head],
        adam.second_bias[batch, head],
    )


@jit
def move(adam: Any, step: int, parameters: Any, descents: Any, first: Any, second: Any) -> None:
    """Take a step of Adam on a row of parameters whose gradient is minus `descents`."""
    one = number(1.0, parameters)
    correction1 = one / (one - number(adam.beta1**step, parameters))
    correction2 = one / (one - number(adam.beta2**step, parameters))
    beta1, beta2 = number(adam.beta1, parameters), number(adam.beta2, parameters)
    lr, eps = number(adam.lr, parameters), number(adam.eps, parameters)
    for d in range(len(first)):
        gradient = -descents[d]
        first[d] = beta1 * first[d] + (one - beta1) * gradient
        second[d] = beta2 * second[d] + (one - beta2) * gradient * gradient
        parameters[d] -= lr * first[d] * correction1 / (np.sqrt(second[d] * correction2) + eps)
