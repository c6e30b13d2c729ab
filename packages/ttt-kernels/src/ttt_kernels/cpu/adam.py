"""The inner loop whose state crosses the border of a mini-batch by a step of Adam.

The step is a constant to the outer gradient (docs/adr/0003), so no mini-batch waits for the
gradient of a later one: the backward pass reads forward, once more, and needs nothing kept.
"""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.backward import (
    end_head,
    load_upstream,
    recall,
    start_head,
    write_tokens,
)
from ttt_kernels.cpu.forward import answer, descend, learn, write_output
from ttt_kernels.cpu.gradients import mini_batch_gradients
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.state import make_state, read_state, write_state
from ttt_kernels.cpu.tiles import Model, load_mini_batch, load_norm, number
from ttt_kernels.cpu.vector import load, root_of, store, vector_length


class Adam(NamedTuple):
    """Where Adam stands, and how it moves.

    Attributes:
        first: first moments, (B, H, S); changed in place, as the second.
        second: second moments.
        step: updates made so far.
        lr: step size.
        beta1: decay of the first moments.
        beta2: decay of the second moments.
        eps: added to the root of the second moments.
    """

    first: Any
    second: Any
    step: Any
    lr: Any
    beta1: Any
    beta2: Any
    eps: Any


class Scratch(NamedTuple):
    """Scratch memory of a scan: states of one head.

    Attributes:
        state: the state.
        descent: what Adam is handed: minus the sum of e_j times the gradient.
        first: first moments.
        second: second moments.
    """

    state: Any
    descent: Any
    first: Any
    second: Any


def make_scratch(model: Model, like: np.ndarray) -> Scratch:
    """Allocate states of zeros; not compiled."""
    return Scratch(*(make_state(model, like) for _ in range(4)))


@entry
def adam_scan(
    sequence: Any,
    start: Any,
    adam: Any,
    outputs: Any,
    tiles: Any,
    scratch: Any,
    model: Any,
    first: int,
    last: int,
) -> None:
    """Read all tokens of the heads `first` to `last - 1`; see `forward.scan`."""
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    for program in range(first, last):
        batch, head = program // heads, program % heads
        load_norm(sequence, tiles, head)
        start_steps(start, adam, scratch, batch, head, model)
        for at in range(0, tokens, size):
            count = min(size, tokens - at)
            load_mini_batch(sequence, tiles, batch, head, at, count, size)
            learn(tiles, scratch.state, sequence.eps, model)
            answer(tiles, scratch.state, sequence.eps, model)
            write_output(sequence, tiles, outputs.output, batch, head, at, count)
            if count == size:
                take_step(sequence, adam, tiles, scratch, at // size + 1, model)
        write_state(adam.first[batch, head], scratch.first, model)
        write_state(adam.second[batch, head], scratch.second, model)
        write_state(outputs.state[batch, head], scratch.state, model)


@entry
def adam_scan_back(
    sequence: Any,
    start: Any,
    adam: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    scratch: Any,
    dstate: Any,
    model: Any,
    first: int,
    last: int,
) -> None:
    """Compute the gradients of the heads `first` to `last - 1`; see `backward.scan_back`.

    `adam` is as before the forward pass.
    """
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    last_eta = sequence.token_eta[size - 1]
    state = scratch.state
    for program in range(first, last):
        batch, head = program // heads, program % heads
        start_head(sequence, upstream.state[batch, head], tiles, dstate, head, model)
        start_steps(start, adam, scratch, batch, head, model)
        for at in range(0, tokens, size):
            count = min(size, tokens - at)
            load_mini_batch(sequence, tiles, batch, head, at, count, size)
            load_upstream(upstream, tiles, batch, head, at, count, size, model.dim)
            learn(tiles, state, sequence.eps, model)
            recall(tiles, state, sequence.eps, last_eta, False, model)
            mini_batch_gradients(tiles, state, dstate, last_eta, count, False, model)
            write_tokens(gradients, tiles, batch, head, at, count)
            if count == size:
                take_step(sequence, adam, tiles, scratch, at // size + 1, model)
        end_head(gradients, tiles, dstate, batch, head, model)


@jit
def start_steps(start: Any, adam: Any, scratch: Any, batch: int, head: int, model: Any) -> None:
    """Load the state of a head and its moments."""
    read_state(scratch.state, start[0 if start.shape[0] == 1 else batch, head], model)
    read_state(scratch.first, adam.first[batch, head], model)
    read_state(scratch.second, adam.second[batch, head], model)


@jit
def take_step(sequence: Any, adam: Any, tiles: Any, scratch: Any, steps: int, model: Any) -> None:
    """Hand the eta-weighted gradients of a complete mini-batch to Adam."""
    descent, first, second = scratch.descent, scratch.first, scratch.second
    descent.weights[:] = 0
    descent.biases[:] = 0
    last_eta = sequence.token_eta[len(sequence.token_eta) - 1]
    for layer in range(model.layers):
        descend(tiles, descent, layer, -last_eta, model)
    step, state = adam.step + steps, scratch.state
    move(adam, step, state.weights, descent.weights, first.weights, second.weights)
    move(adam, step, state.biases, descent.biases, first.biases, second.biases)


@jit
def move(adam: Any, step: int, parameters: Any, descents: Any, first: Any, second: Any) -> None:
    """Take a step of Adam on parameters whose gradient is minus `descents`; padding stays zero."""
    one = number(1.0, parameters)
    correction1 = one / (one - number(adam.beta1**step, parameters))
    correction2 = one / (one - number(adam.beta2**step, parameters))
    beta1, beta2 = number(adam.beta1, parameters), number(adam.beta2, parameters)
    speed, eps = number(adam.lr, parameters) * correction1, number(adam.eps, parameters)
    for at in range(0, parameters.size, vector_length(parameters)):
        descent = load(descents, at)
        mean = load(first, at) * beta1 - descent * (one - beta1)
        square = load(second, at) * beta2 + descent * descent * (one - beta2)
        store(first, at, mean)
        store(second, at, square)
        change = mean * speed / (root_of(square * correction2) + eps)
        store(parameters, at, load(parameters, at) - change)
