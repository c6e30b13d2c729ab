"""The backward pass of the inner loop: from the last mini-batch to the first, the state walked back.

A layer's step W' = W - (e * x)^T g is undone by adding what it took away. Its x is known once the
layers below it are back at the start of the mini-batch, so with g at hand no state but the last is
needed. The forward pass keeps g of the whole sequence, or states at intervals; then g is computed
again from one state to the next.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.forward import correct, descend, keep_gradients, learn
from ttt_kernels.cpu.gradients import mini_batch_gradients
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.state import push_both, read_state, write_state
from ttt_kernels.cpu.tiles import (
    ANSWER_INVERSE_STD,
    ANSWER_SLOPES,
    ANSWERS,
    CURVATURES,
    DETA,
    DINPUTS,
    DLN_B,
    DLN_W,
    DOUTPUT,
    DRATES,
    DTARGETS,
    GRADIENTS,
    INPUTS,
    INVERSE_STD,
    OTHER,
    SLOPES,
    activate,
    activate_with_slopes,
    by_feature,
    by_token,
    load_mini_batch,
    load_norm,
    load_tokens,
    standardize,
    store_tokens,
    width_out,
)
from ttt_kernels.cpu.vector import load, put, row, total_of, vector_length, zeros


class Upstream(NamedTuple):
    """What arrives at the results of the forward pass, and what it left.

    Attributes:
        output: gradient of the output, as `Sequence.q`.
        steps: numbers from one sequence, token and head to the next in `output`, (3,).
        state: of the final state, (B, H, S).
        gradients: g as `forward.Outputs`; N is 0 if states were kept.
        kept: states to start a span of mini-batches from, (B, H, K, S); with `gradients` K is 1 and
            it is the final state.
    """

    output: Any
    steps: Any
    state: Any
    gradients: Any
    kept: Any


class Gradients(NamedTuple):
    """Arrays that `scan_back` fills; what sequences share is left to be summed over B.

    Attributes:
        q: the numbers of (B, T, H, D), and so k and v.
        k: of the keys.
        v: of the values.
        lr: (B, T, H).
        token_eta: (B, H, M).
        state: (B, H, S).
        norm: of the layer norm's weight and bias, (2, B, H, D).
    """

    q: Any
    k: Any
    v: Any
    lr: Any
    token_eta: Any
    state: Any
    norm: Any


@entry
def scan_back(
    sequence: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    states: Any,
    scratch: Any,
    model: Any,
    first: int,
    last: int,
    interval: int,
) -> None:
    """Compute the gradients of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments but for the state.
        upstream: what arrives.
        gradients: filled in.
        tiles: scratch memory.
        states: scratch memory for a state and its gradient.
        scratch: room for g of a span, (`interval`, G, M), if states were kept.
        model: sizes.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches from one kept state to the next.
    """
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    last_eta = sequence.token_eta[size - 1]
    state, dstate = states
    complete, spans = tokens // size, upstream.kept.shape[2]
    replay = upstream.gradients.shape[2] == 0
    for program in range(first, last):
        batch, head = program // heads, program % heads
        start_head(sequence, upstream.state[batch, head], tiles, dstate, head, model)
        for span in range(spans - 1, -1, -1):
            begin = span * interval
            end = min(complete, begin + interval) if replay else complete
            read_state(state, upstream.kept[batch, head, span], model)
            kept = scratch if replay else upstream.gradients[batch, head]
            if replay:
                for index in range(begin, end):
                    load_mini_batch(sequence, tiles, batch, head, index * size, size, size)
                    learn(tiles, state, sequence.eps, model)
                    keep_gradients(kept[index - begin], tiles, model)
                    for layer in range(model.layers):
                        descend(tiles, state, layer, -last_eta, model)
            stop = tokens if span == spans - 1 else end * size
            at = (stop - 1) // size * size
            while at >= begin * size:
                count = min(size, stop - at)
                load_mini_batch(sequence, tiles, batch, head, at, count, -size)
                load_upstream(upstream, tiles, batch, head, at, count, -size, model.dim)
                learned = count == size
                if learned:
                    load_gradients(kept[at // size - begin], tiles, model)
                else:
                    learn(tiles, state, sequence.eps, model)
                recall(tiles, state, sequence.eps, last_eta, learned, model)
                mini_batch_gradients(tiles, state, dstate, last_eta, count, learned, model)
                write_tokens(gradients, tiles, batch, head, at, count)
                at -= size
        end_head(gradients, tiles, dstate, batch, head, model)


@jit
def start_head(
    sequence: Any, upstream: Any, tiles: Any, dstate: Any, head: int, model: Any
) -> None:
    """Load the layer norm and the gradient of the final state; nothing is summed up yet."""
    load_norm(sequence, tiles, head)
    read_state(dstate, upstream, model)
    tiles.single[DLN_W] = 0
    tiles.single[DLN_B] = 0
    tiles.rows[DETA] = 0


@jit
def end_head(gradients: Any, tiles: Any, dstate: Any, batch: int, head: int, model: Any) -> None:
    """Write the gradients that were summed up."""
    write_state(gradients.state[batch, head], dstate, model)
    for part in range(2):
        sums = tiles.single[DLN_W + part]
        for d in range(model.dim):
            total = zeros(sums)
            for p in range(sums.shape[0]):
                total += row(sums[p], d)
            gradients.norm[part, batch, head, d] = total_of(total)
    for i in range(gradients.token_eta.shape[2]):
        gradients.token_eta[batch, head, i] = tiles.rows[DETA, i]


@jit
def load_upstream(
    upstream: Any, tiles: Any, batch: int, head: int, start: int, count: int, ahead: int, dim: int
) -> None:
    """Load the gradient of the output of some tokens; none arrives at those that fill up."""
    doutput, rows, tokens = tiles.single[DOUTPUT], tiles.by_token[OTHER], tiles.rows.shape[1]
    load_tokens(
        *(rows, 0, tokens, upstream.output, upstream.steps),
        *(batch, head, start, count, ahead, dim),
    )
    for i in range(count, tokens):
        for c in range(rows.shape[0]):
            put(rows[c], i, zeros(rows))
    by_feature(doutput, rows, 0, dim)
    tiles.rows[DRATES] = 0


@jit
def load_gradients(kept: Any, tiles: Any, model: Any) -> None:
    """Read what `forward.keep_gradients` wrote."""
    first, size, vector = 0, kept.shape[1], vector_length(tiles.rows)
    for layer in range(model.layers):
        width = width_out(model, layer)
        for p in range(tiles.layered.shape[2]):
            gradients, lane = tiles.layered[layer, GRADIENTS, p], p * vector
            if lane + vector <= size:
                for o in range(width):
                    put(gradients, o, load(kept, (first + o) * size + lane))
            else:
                for o in range(width):
                    for j in range(lane, size):
                        gradients[o, j - lane] = kept[first + o, j]
        first += width


@jit
def recall(tiles: Any, state: Any, eps: Any, last_eta: Any, learned: bool, model: Any) -> None:
    """Undo the step of a mini-batch, if it is complete, and compute again what came of its g."""
    last = model.layers - 1
    for layer in range(model.layers):
        if learned:
            descend(tiles, state, layer, last_eta, model)
        z, y = tiles.layered[layer + 1, INPUTS], tiles.layered[layer + 1, ANSWERS]
        x, queries = tiles.layered[layer, INPUTS], tiles.layered[layer, ANSWERS]
        push_both(z, y, state.weights, layer, x, queries, model)
        correct(tiles, layer, model)
        bias, slopes = state.biases[layer], tiles.layered[layer, ANSWER_SLOPES]
        if layer < last:
            own = tiles.layered[layer]
            activate(z, bias, own[SLOPES], own[CURVATURES], model.hidden)
            activate_with_slopes(y, bias, slopes, model.hidden)
        else:
            standardize(z, bias, tiles.rows[INVERSE_STD], model.dim, eps)
            standardize(y, bias, tiles.rows[ANSWER_INVERSE_STD], model.dim, eps)


@jit
def write_tokens(gradients: Any, tiles: Any, batch: int, head: int, start: int, count: int) -> None:
    """Write the gradients of a mini-batch's tokens."""
    _, tokens, heads = gradients.lr.shape
    dim, rows, dtargets = gradients.norm.shape[3], tiles.by_token[OTHER], tiles.single[DTARGETS]
    at, step = ((batch * tokens + start) * heads + head) * dim, heads * dim
    by_token(rows, 0, tiles.single[DOUTPUT], dim)
    store_tokens(gradients.q, at, step, rows, 0, count, dim)
    by_token(rows, 0, tiles.layered[0, DINPUTS], dim)
    store_tokens(gradients.k, at, step, rows, 0, count, dim)
    for p in range(dtargets.shape[0]):
        out = dtargets[p]
        for d in range(dim):
            put(out, d, zeros(out) - row(out, d))
    by_token(rows, 0, dtargets, dim)
    store_tokens(gradients.v, at, step, rows, 0, count, dim)
    for i in range(count):
        gradients.lr[batch, start + i, head] = tiles.rows[DRATES, i]
