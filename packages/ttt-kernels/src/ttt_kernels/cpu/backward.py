"""The backward pass of the inner loop: from the last mini-batch to the first, state walked back.

A layer's step W' = W - (e * x)^T g is undone by adding what it took away. Its x is known once the
layers below it are back at the start of the mini-batch, so with g at hand no state but the last is
needed. The forward pass keeps g of the whole sequence, or states at intervals; then g is computed
again from one state to the next.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.forward import correct, descend, keep_gradients, learn, loss_gradient
from ttt_kernels.cpu.gradients import mini_batch_gradients
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.state import load_head, pick, push, read_state, write_state
from ttt_kernels.cpu.tiles import (
    ANSWER_INVERSE_STD,
    ANSWER_SLOPES,
    ANSWERS,
    CURVATURES,
    DINPUTS,
    DOUTPUT,
    DRATES,
    DTARGETS,
    GRADIENTS,
    INPUTS,
    INVERSE_STD,
    LN_W,
    OTHER,
    SLOPES,
    TOKEN_ETA,
    activate,
    activate_with_slopes,
    by_token,
    claim_tokens,
    load_mini_batch,
    load_features,
    next_of,
    rows_of,
    standardize,
    store_features,
    width_out,
)
from ttt_kernels.cpu.vector import load, prefetch, put, row, vector_length, zeros


class Upstream(NamedTuple):
    """What arrives at the results of the forward pass, and what it left.

    Attributes:
        output: gradient of the output, as `Sequence.q`.
        steps: numbers from one sequence, token and head to the next in `output`, (3,).
        state: of the final state, (B, H, S).
        gradients: as `forward.Outputs`; N is 0 if states were kept.
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
        states: scratch memory for states and their gradients, of as many heads as are read side by
            side.
        scratch: room for g of a span of each, (any, `interval`, G, M), if states were kept.
        model: sizes.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches from one kept state to the next.
    """
    heads, begin = sequence.ln_w.shape[0], first
    while begin < last:
        batch = begin // heads
        end = min(last, begin + len(states[0].weights), (batch + 1) * heads)
        for program in range(begin, end):
            dstate = pick(states[1], program - begin)
            read_state(dstate, upstream.state[batch, program % heads], model)
        read_group_back(
            sequence, upstream, gradients, tiles, states, scratch, model, begin, end, interval
        )
        for program in range(begin, end):
            dstate = pick(states[1], program - begin)
            end_head(gradients, dstate, batch, program % heads, model)
        begin = end


@jit
def read_group_back(
    sequence: Any,
    upstream: Any,
    gradients: Any,
    tiles: Any,
    states: Any,
    scratch: Any,
    model: Any,
    begin: int,
    end: int,
    interval: int,
) -> None:
    """Go back over all tokens of some heads of one sequence, span by span of kept states."""
    heads, tokens, size = sequence.ln_w.shape[0], sequence.lr.shape[1], len(sequence.token_eta)
    batch, complete, spans = begin // heads, tokens // size, upstream.kept.shape[2]
    replay = upstream.gradients.shape[2] == 0
    for span in range(spans - 1, -1, -1):
        first = span * interval
        stop = min(complete, first + interval) if replay else complete
        for program in range(begin, end):
            head, state = program % heads, pick(states[0], program - begin)
            load_head(state, sequence, upstream.kept[batch, head, span], head, model)
            if replay:
                kept = scratch[program - begin]
                compute_again(sequence, tiles, state, kept, program, first, stop, model)
        last = tokens if span == spans - 1 else stop * size
        at = (last - 1) // size * size
        while at >= first * size:
            count, index = min(size, last - at), at // size
            for program in range(begin, end):
                head = program % heads
                kept = scratch[program - begin] if replay else upstream.gradients[batch, head]
                following = next_of(program, begin, end, heads, at, -size)
                load_mini_batch(sequence, tiles, batch, head, at, count, following)
                load_upstream(upstream, tiles, batch, head, at, count, following, model.dim)
                state, dstate = pick(states[0], program - begin), pick(states[1], program - begin)
                claim_gradients(gradients, batch, head, at, count, model.dim)
                learned = count == size
                if learned:
                    ahead = (following[0] - head) * kept.size
                    ahead += (following[1] - at) // size * kept[0].size
                    load_gradients(kept[index - first], ahead, tiles, state, model)
                else:
                    learn(tiles, state, sequence.eps, model)
                recall(tiles, state, sequence.eps, sequence.token_eta, learned, model)
                mini_batch_gradients(tiles, state, dstate, count, learned, model)
                write_tokens(gradients, tiles, batch, head, at, count, model.dim)
            at -= size


@jit
def compute_again(
    sequence: Any,
    tiles: Any,
    state: Any,
    kept: Any,
    program: int,
    first: int,
    stop: int,
    model: Any,
) -> None:
    """Read the mini-batches `first` to `stop - 1` from a kept state, and keep g."""
    heads, size = sequence.ln_w.shape[0], len(sequence.token_eta)
    batch, head = program // heads, program % heads
    for index in range(first, stop):
        following = head, (index + 1) * size
        load_mini_batch(sequence, tiles, batch, head, index * size, size, following)
        learn(tiles, state, sequence.eps, model)
        keep_gradients(kept[index - first], tiles, model)
        for layer in range(model.layers):
            descend(tiles, state, layer, -sequence.token_eta[size - 1], model)


@jit
def end_head(gradients: Any, dstate: Any, batch: int, head: int, model: Any) -> None:
    """Write the gradients that were summed up."""
    write_state(gradients.state[batch, head], dstate, model)
    for part in range(2):
        for d in range(model.dim):
            gradients.norm[part, batch, head, d] = dstate.rows[LN_W + part, d]
    for i in range(gradients.token_eta.shape[2]):
        gradients.token_eta[batch, head, i] = dstate.rows[TOKEN_ETA, i]


@jit
def load_upstream(
    upstream: Any,
    tiles: Any,
    batch: int,
    head: int,
    start: int,
    count: int,
    following: Any,
    dim: int,
) -> None:
    """Load the gradient of the output of some tokens; none arrives at those that fill up."""
    doutput, rows = tiles.single[DOUTPUT], tiles.by_token[OTHER]
    load_features(
        *(doutput, rows, upstream.output, upstream.steps),
        *(batch, head, start, count, following, dim),
    )
    for p in range(doutput.shape[0]):
        for d in range(dim):
            for lane in range(max(0, count - p * vector_length(doutput)), vector_length(doutput)):
                doutput[p, d, lane] = 0
    tiles.rows[DRATES] = 0


@jit
def load_gradients(kept: Any, ahead: int, tiles: Any, state: Any, model: Any) -> None:
    """Read what `forward.keep_gradients` wrote, and compute g_L; zeros into the padding.

    What `learn` has left there, of another head, may be no number. What is read next lies `ahead`
    numbers further.
    """
    first, size, vector = 0, kept.shape[1], vector_length(tiles.rows)
    for layer in range(model.layers):
        width, last = width_out(model, layer), layer == model.layers - 1
        tile = tiles.layered[layer + 1, INPUTS] if last else tiles.layered[layer, GRADIENTS]
        for p in range(tile.shape[0]):
            panel, lane = tile[p], p * vector
            for o in range(width, rows_of(width)):
                put(panel, o, zeros(panel))
            if lane + vector <= size:
                for o in range(width):
                    put(panel, o, load(kept, (first + o) * size + lane))
                    prefetch(kept, (first + o) * size + lane + ahead)
            else:
                for o in range(width):
                    put(panel, o, zeros(panel))
                    for j in range(lane, size):
                        panel[o, j - lane] = kept[first + o, j]
        first += width
    tiles.rows[INVERSE_STD] = 0
    for j in range(size):
        tiles.rows[INVERSE_STD, j] = kept[first, j]
    loss_gradient(tiles, state, model)


@jit
def recall(tiles: Any, state: Any, eps: Any, token_eta: Any, learned: bool, model: Any) -> None:
    """Undo the step of a mini-batch, if it is complete, and compute again what came of its g.

    Of the keys all but z_L, which is at hand already.
    """
    last = model.layers - 1
    for layer in range(model.layers):
        if learned:
            descend(tiles, state, layer, token_eta[len(token_eta) - 1], model)
        z, y = tiles.layered[layer + 1, INPUTS], tiles.layered[layer + 1, ANSWERS]
        push(y, state.weights, layer, tiles.layered[layer, ANSWERS], model, True)
        correct(tiles, layer, model)
        bias, slopes = state.biases[layer], tiles.layered[layer, ANSWER_SLOPES]
        if layer < last:
            push(z, state.weights, layer, tiles.layered[layer, INPUTS], model, True)
            own = tiles.layered[layer]
            activate(z, bias, own[SLOPES], own[CURVATURES], model.hidden)
            activate_with_slopes(y, bias, slopes, model.hidden)
        else:
            standardize(y, bias, tiles.rows[ANSWER_INVERSE_STD], model.dim, eps)


@jit
def claim_gradients(
    gradients: Any, batch: int, head: int, start: int, count: int, dim: int
) -> None:
    """Ask for the memory that `write_tokens` will write."""
    _, tokens, heads = gradients.lr.shape
    at = ((batch * tokens + start) * heads + head) * dim
    claim_tokens(gradients.q, at, heads * dim, count, dim)
    claim_tokens(gradients.k, at, heads * dim, count, dim)
    claim_tokens(gradients.v, at, heads * dim, count, dim)


@jit
def write_tokens(
    gradients: Any, tiles: Any, batch: int, head: int, start: int, count: int, dim: int
) -> None:
    """Write the gradients of a mini-batch's tokens."""
    _, tokens, heads = gradients.lr.shape
    rows, dtargets = tiles.by_token[OTHER], tiles.single[DTARGETS]
    at, step = ((batch * tokens + start) * heads + head) * dim, heads * dim
    store_features(gradients.q, at, step, rows, tiles.single[DOUTPUT], count, dim)
    store_features(gradients.k, at, step, rows, tiles.layered[0, DINPUTS], count, dim)
    for p in range(dtargets.shape[0]):
        out = dtargets[p]
        for d in range(dim):
            put(out, d, zeros(out) - row(out, d))
    store_features(gradients.v, at, step, rows, dtargets, count, dim)
    for i in range(count):
        gradients.lr[batch, start + i, head] = tiles.rows[DRATES, i]
