"""The backward pass of TTT-Linear: from the last mini-batch to the first, the state walked back.

A step W' = W - (e * k)^T g is undone by adding what it took away, so that with g at hand no state
but the last is needed. The forward pass keeps g of the whole sequence, or states at intervals; then
g is computed again from one state to the next.
"""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.linear_forward import GROUP, answer, descend, learn
from ttt_kernels.cpu.linear_gradients import (
    Head,
    key_gradients,
    mini_batch_gradients,
    query_gradients,
    state_gradients,
)
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import (
    BIAS,
    LN_B,
    LN_W,
    aligned_zeros,
    ask_for,
    clear_padding,
    copy_state,
    fill_zeros,
    load_head,
    load_tokens,
    padded,
    prefetch_rows,
    store_tokens,
    transpose,
)
from ttt_kernels.cpu.vector import load, store, vector_length, zeros


class Upstream(NamedTuple):
    """What arrives at the results of the forward pass, and what it left.

    Attributes:
        output: gradient of the output, the numbers of (B, T, H, D).
        weight: of the final W, (B, H, D, D).
        bias: of the final b, (B, H, D).
        gradients: g as `linear_forward.Outputs`; empty if states were kept.
        kept_weights: states to start a span of mini-batches from, (B, H, N, D, D); with `gradients`
            N is 1 and it is the final state.
        kept_biases: (B, H, N, D).
    """

    output: Any
    weight: Any
    bias: Any
    gradients: Any
    kept_weights: Any
    kept_biases: Any


class Gradients(NamedTuple):
    """Arrays that `scan_back` fills; what sequences share is left to be summed over B.

    Attributes:
        q: the numbers of (B, T, H, D), and so k and v.
        k: of the keys.
        v: of the values.
        lr: (B, T, H).
        token_eta: (B, H, M).
        weight: (B, H, D, D).
        bias: (B, H, D).
        ln_w: (B, H, D).
        ln_b: (B, H, D).
    """

    q: Any
    k: Any
    v: Any
    lr: Any
    token_eta: Any
    weight: Any
    bias: Any
    ln_w: Any
    ln_b: Any


class Heads(NamedTuple):
    """The states and gradients of a group of heads: `Head` with a first axis of GROUP."""

    weight: Any
    by_output: Any
    rows: Any
    dweight: Any
    drows: Any
    deta: Any


@entry
def scan_back(
    sequence: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    grads: Any,
    group: Any,
    scratch: Any,
    first: int,
    last: int,
    interval: int,
) -> None:
    """Compute the gradients of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments.
        upstream: what arrives.
        gradients: filled in.
        tiles: scratch memory, not shared.
        grads: scratch memory.
        group: scratch memory.
        scratch: room for g of a span of GROUP heads, `interval` * M * D numbers each, if states
            were kept.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches from one kept state to the next.
    """
    heads = sequence.ln_w.shape[0]
    begin = first
    while begin < last:
        end = min(last, begin + GROUP, (begin // heads + 1) * heads)  # of one sequence
        for program in range(begin, end):
            start_head(sequence, upstream, pick(group, program - begin), program)
        read_group_back(
            *(sequence, upstream, gradients, tiles, grads, group, scratch, begin, end, interval)
        )
        for program in range(begin, end):
            end_head(gradients, pick(group, program - begin), program, heads)
        begin = end


def make_heads(mini_batch_size: int, dim: int, like: np.ndarray) -> Heads:
    """Allocate the states of a group; not compiled."""
    tokens, width = padded(mini_batch_size, like), padded(dim, like)
    return Heads(
        aligned_zeros((GROUP, width, width), like),
        aligned_zeros((GROUP, width, width), like),
        aligned_zeros((GROUP, 4, width), like),
        aligned_zeros((GROUP, width, width), like),
        aligned_zeros((GROUP, 4, width), like),
        aligned_zeros((GROUP, 1, tokens), like),
    )


@jit
def pick(group: Any, place: int) -> Any:
    """One head of a group."""
    return Head(
        group.weight[place],
        group.by_output[place],
        group.rows[place],
        group.dweight[place],
        group.drows[place],
        group.deta[place],
    )


@jit
def start_head(sequence: Any, upstream: Any, head: Any, program: int) -> None:
    """Load the layer norm and the gradient of the final state."""
    heads, dim = sequence.ln_w.shape
    batch, number = program // heads, program % heads
    load_head(sequence, head.weight, head.rows, batch, number)
    fill_zeros(head.by_output, head.by_output.shape[0])
    fill_zeros(head.dweight, head.dweight.shape[0])
    fill_zeros(head.drows, 4)
    fill_zeros(head.deta, 1)
    copy_state(
        head.dweight, head.drows, upstream.weight[batch, number], upstream.bias[batch, number], dim
    )


@jit
def end_head(gradients: Any, head: Any, program: int, heads: int) -> None:
    """Write the gradients that were summed up."""
    batch, number = program // heads, program % heads
    for d in range(gradients.bias.shape[2]):
        gradients.bias[batch, number, d] = head.drows[BIAS, d]
        gradients.ln_w[batch, number, d] = head.drows[LN_W, d]
        gradients.ln_b[batch, number, d] = head.drows[LN_B, d]
        for e in range(gradients.bias.shape[2]):
            gradients.weight[batch, number, d, e] = head.dweight[d, e]
    for i in range(gradients.token_eta.shape[2]):
        gradients.token_eta[batch, number, i] = head.deta[0, i]


@jit
def read_group_back(
    sequence: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    grads: Any,
    group: Any,
    scratch: Any,
    begin: int,
    end: int,
    interval: int,
) -> None:
    """Go back over all tokens of some heads of one sequence, span by span of kept states."""
    heads, dim = sequence.ln_w.shape
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    complete = tokens // size
    replay = len(upstream.gradients) == 0
    spans = upstream.kept_biases.shape[2]
    room = len(scratch) // GROUP
    for span in range(spans - 1, -1, -1):
        first = span * interval if replay else 0
        stop = min(complete, first + interval) if replay else complete
        for program in range(begin, end):
            batch, number = program // heads, program % heads
            head = pick(group, program - begin)
            copy_state(
                head.weight,
                head.rows,
                upstream.kept_weights[batch, number, span],
                upstream.kept_biases[batch, number, span],
                dim,
            )
            if replay:
                at = (program - begin) * room
                compute_again(sequence, tiles, head, scratch, at, program, first, stop)
            transpose(head.by_output, head.weight, dim, dim)
        last = stop * size if span < spans - 1 else tokens
        start = (last - 1) // size * size
        while start >= first * size:
            count = min(size, last - start)
            for program in range(begin, end):
                head = pick(group, program - begin)
                load_tokens(sequence, tiles, program // heads, program % heads, start, count)
                if count == size:
                    if replay:
                        at = (program - begin) * room + (start - first * size) * dim
                        walk_back(sequence, tiles, head, scratch, at, dim)
                    else:
                        at = (program * complete * size + start) * dim
                        walk_back(sequence, tiles, head, upstream.gradients, at, dim)
                following = program + 1 if program + 1 < end else begin
                there = start if program + 1 < end else max(0, start - size)
                row = ((following // heads) * tokens + there) * heads + following % heads
                ask_for(sequence, 0, following, there, size)
                prefetch_rows(upstream.output, row * dim, heads * dim, size, dim)
                here = ((program // heads * tokens + start) * heads + program % heads) * dim
                prefetch_rows(gradients.q, here, heads * dim, count, dim)
                learn(sequence, tiles, head.weight, head.rows, count)
                prefetch_rows(gradients.v, here, heads * dim, count, dim)
                answer(sequence, tiles, head.weight, head.rows, count)
                prefetch_rows(gradients.k, here, heads * dim, count, dim)
                ask_for(sequence, 1, following, there, size)
                load_upstream(upstream.output, grads, program, start, count, tokens, heads, dim)
                mini_batch_gradients(sequence, tiles, grads, head, count, count == size)
                ask_for(sequence, 2, following, there, size)
                write_gradients(gradients, tiles, grads, head, program, start, count, count == size)
            start -= size


@jit
def compute_again(
    sequence: Any,
    tiles: Any,
    head: Any,
    scratch: Any,
    at: int,
    program: int,
    first: int,
    stop: int,
) -> None:
    """Read the mini-batches `first` to `stop - 1` from a kept state, and keep g."""
    heads, dim = sequence.ln_w.shape
    size = len(sequence.token_eta)
    for mini_batch in range(first, stop):
        load_tokens(sequence, tiles, program // heads, program % heads, mini_batch * size, size)
        learn(sequence, tiles, head.weight, head.rows, size)
        place = at + (mini_batch - first) * size * dim
        store_tokens(scratch, tiles.gradients, place, dim, size, dim)
        descend(sequence, tiles, head.weight, head.rows, size)


@jit
def walk_back(sequence: Any, tiles: Any, head: Any, kept: Any, at: int, dim: int) -> None:
    """Undo the step of a complete mini-batch whose g is kept from `at` on."""
    size, width = len(sequence.token_eta), head.weight.shape[1]
    last_eta = sequence.token_eta[size - 1]
    vector = vector_length(tiles.keys)
    whole = dim // vector * vector
    for i in range(size):
        step = tiles.rates[0, i] * last_eta
        for d in range(0, whole, vector):
            ascent = load(kept, 0, at + i * dim + d) * step
            store(tiles.descents, i, d, ascent)
            store(head.rows, BIAS, d, load(head.rows, BIAS, d) + ascent)
        for d in range(whole, dim):
            ascent = kept[at + i * dim + d] * step
            tiles.descents[i, d] = ascent
            head.rows[BIAS, d] += ascent
    clear_padding(tiles.descents, size, dim)
    multiply_add(head.weight, tiles.keys, 1, width, tiles.descents, dim, size, width)
    multiply_add(head.by_output, tiles.descents, 1, width, tiles.keys, dim, size, width)


@jit
def load_upstream(
    output: Any, grads: Any, program: int, start: int, count: int, tokens: int, heads: int, dim: int
) -> None:
    """Load the gradient of the output of some tokens."""
    vector = vector_length(output)
    whole = dim // vector * vector
    batch, number = program // heads, program % heads
    for i in range(count):
        at = ((batch * tokens + start + i) * heads + number) * dim
        for d in range(0, whole, vector):
            store(grads.doutput, i, d, load(output, 0, at + d))
        for d in range(whole, dim):
            grads.doutput[i, d] = output[at + d]
    clear_padding(grads.doutput, count, dim)


@jit
def write_gradients(
    gradients: Any,
    tiles: Any,
    grads: Any,
    head: Any,
    program: int,
    start: int,
    count: int,
    learned: bool,
) -> None:
    """Complete the gradients of a mini-batch's tokens and of its start, and write the former."""
    _, tokens, heads = gradients.lr.shape
    dim = gradients.bias.shape[2]
    batch, number = program // heads, program % heads
    at, step = ((batch * tokens + start) * heads + number) * dim, heads * dim
    query_gradients(tiles, grads, head, count, dim)
    store_tokens(gradients.q, grads.doutput, at, step, count, dim)
    store_negative(gradients.v, grads.dtargets, at, step, count, dim)
    key_gradients(tiles, grads, head, count, dim, learned)
    store_tokens(gradients.k, grads.dtargets, at, step, count, dim)
    for i in range(count):
        gradients.lr[batch, start + i, number] = grads.drates[0, i]
    state_gradients(tiles, grads, head, count, dim)


@jit
def store_negative(out: Any, tile: Any, start: int, step: int, count: int, dim: int) -> None:
    """As `store_tokens`, with the other sign."""
    vector = vector_length(out)
    whole = dim // vector * vector
    for i in range(count):
        at = start + i * step
        for d in range(0, whole, vector):
            store(out, 0, at + d, zeros(out) - load(tile, i, d))
        for d in range(whole, dim):
            out[at + d] = -tile[i, d]
