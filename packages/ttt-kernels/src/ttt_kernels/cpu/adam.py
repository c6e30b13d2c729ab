"""The inner loop whose state crosses the border of a mini-batch by a step of Adam.

The step is a constant to the outer gradient (docs/adr/0003), so no mini-batch waits for the
gradient of a later one: the backward pass reads forward, once more, and needs nothing kept.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.backward import end_head, load_upstream, recall, write_tokens
from ttt_kernels.cpu.forward import answer, descend, learn, write_output
from ttt_kernels.cpu.gradients import mini_batch_gradients
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.state import load_head, pick, read_state, write_state
from ttt_kernels.cpu.tiles import load_steps, number
from ttt_kernels.cpu.tokens import MiniBatch, load_mini_batch
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


class States(NamedTuple):
    """Scratch memory of a scan.

    Attributes:
        state: the state, of one head as all of them.
        descent: what Adam is handed: minus the sum of e_j times the gradient.
        first: first moments.
        second: second moments.
    """

    state: Any
    descent: Any
    first: Any
    second: Any


@entry
def adam_scan(
    sequence: Any,
    start: Any,
    adam: Any,
    outputs: Any,
    tiles: Any,
    states: Any,
    model: Any,
    first: int,
    last: int,
) -> None:
    """Read all tokens of the heads `first` to `last - 1`; see `forward.scan`."""
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    state = pick(states.state, 0)
    load_steps(tiles, sequence.token_eta)
    for program in range(first, last):
        batch, head = program // heads, program % heads
        start_head(sequence, start, adam, states, batch, head, model)
        for at in range(0, tokens, size):
            count = min(size, tokens - at)
            load_mini_batch(sequence, tiles, MiniBatch(batch, head, at, count, (head, at + size)))
            learn(tiles, state, sequence.eps, model)
            answer(tiles, state, sequence.eps, model)
            place, step = ((batch * tokens + at) * heads + head) * model.dim, heads * model.dim
            write_output(tiles, state, outputs.output, place, step, count, model.dim)
            if count == size:
                take_step(sequence, adam, tiles, states, at // size + 1, model)
        write_state(adam.first[batch, head], pick(states.first, 0), model)
        write_state(adam.second[batch, head], pick(states.second, 0), model)
        write_state(outputs.state[batch, head], state, model)


@entry
def adam_scan_back(
    sequence: Any,
    start: Any,
    adam: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    states: Any,
    dstates: Any,
    model: Any,
    first: int,
    last: int,
) -> None:
    """Compute the gradients of the heads `first` to `last - 1`; see `backward.scan_back`.

    `adam` is as before the forward pass.
    """
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    state, dstate = pick(states.state, 0), pick(dstates, 0)
    load_steps(tiles, sequence.token_eta)
    for program in range(first, last):
        batch, head = program // heads, program % heads
        start_head(sequence, start, adam, states, batch, head, model)
        read_state(dstate, upstream.state[batch, head], model)
        for at in range(0, tokens, size):
            count = min(size, tokens - at)
            mini_batch = MiniBatch(batch, head, at, count, (head, at + size))
            load_mini_batch(sequence, tiles, mini_batch)
            load_upstream(upstream, tiles, mini_batch, model.dim)
            learn(tiles, state, sequence.eps, model)
            recall(tiles, state, sequence.eps, sequence.token_eta, False, False, model)
            mini_batch_gradients(tiles, state, dstate, count, False, model)
            write_tokens(gradients, tiles, batch, head, at, count, model.dim)
            if count == size:
                take_step(sequence, adam, tiles, states, at // size + 1, model)
        end_head(gradients, dstate, batch, head, model)


@jit
def start_head(
    sequence: Any, start: Any, adam: Any, states: Any, batch: int, head: int, model: Any
) -> None:
    """Load the state of a head and its moments."""
    given = start[0 if start.shape[0] == 1 else batch, head]
    load_head(pick(states.state, 0), sequence, given, head, model)
    read_state(pick(states.first, 0), adam.first[batch, head], model)
    read_state(pick(states.second, 0), adam.second[batch, head], model)


@jit
def take_step(sequence: Any, adam: Any, tiles: Any, states: Any, steps: int, model: Any) -> None:
    """Hand the eta-weighted gradients of a complete mini-batch to Adam."""
    descent = pick(states.descent, 0)
    first, second = pick(states.first, 0), pick(states.second, 0)
    descent.weights[:] = 0
    descent.biases[:] = 0
    last_eta = sequence.token_eta[len(sequence.token_eta) - 1]
    for layer in range(model.layers):
        descend(tiles, descent, layer, -last_eta, model)
    step, state = adam.step + steps, pick(states.state, 0)
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
