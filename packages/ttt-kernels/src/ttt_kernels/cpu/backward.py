"""The backward pass of the inner loop: from the last mini-batch to the first, state walked back.

A layer's step W' = W - (e * x)^T g is undone by adding what it took away. Its x is known once the
layers below it are back at the start of the mini-batch, so with g at hand no state but the last is
needed. The forward pass keeps g of the whole sequence, or states at intervals; then g is computed
again from one state to the next.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.forward import attend, correct, descend, keep_gradients, learn, loss_gradient
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
    DVALUES,
    GRADIENTS,
    INPUTS,
    INVERSE_STD,
    LN_W,
    OTHER,
    SLOPES,
    TOKEN_ETA,
    activate,
    activate_with_slopes,
    load_steps,
    rows_of,
    standardize,
)
from ttt_kernels.cpu.tokens import (
    MiniBatch,
    claim_tokens,
    load_mini_batch,
    load_tile,
    next_of,
    store_tile,
)
from ttt_kernels.cpu.vector import load, prefetch, put, vector_length, zeros


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
    load_steps(tiles, sequence.token_eta)
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
                mini_batch = MiniBatch(batch, head, at, count, following)
                load_mini_batch(sequence, tiles, mini_batch)
                load_upstream(upstream, tiles, mini_batch, model.dim)
                state, dstate = pick(states[0], program - begin), pick(states[1], program - begin)
                claim_gradients(gradients, batch, head, at, count, model.dim)
                learned, answered = count == size, False
                if learned:
                    ahead = (following[0] - head) * kept.size
                    ahead += (following[1] - at) // size * kept[0].size
                    answered = load_gradients(kept[index - first], ahead, tiles, state, model)
                else:
                    learn(tiles, state, sequence.eps, model)
                recall(tiles, state, sequence.eps, sequence.token_eta, learned, answered, model)
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
        load_mini_batch(sequence, tiles, MiniBatch(batch, head, index * size, size, following))
        learn(tiles, state, sequence.eps, model)
        keep_gradients(kept[index - first], tiles, model, True)
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
def load_upstream(upstream: Any, tiles: Any, mini_batch: Any, dim: int) -> None:
    """Load the gradient of the output of some tokens; none arrives at those that fill up."""
    doutput, rows = tiles.single[DOUTPUT], tiles.by_token[OTHER]
    load_tile(doutput, rows, upstream.output, upstream.steps, mini_batch, dim)
    vector = vector_length(doutput)
    for token in range(mini_batch.count, doutput.shape[0] * vector):
        doutput[token // vector, :dim, token % vector] = 0
    tiles.rows[DRATES] = 0


@jit
def load_gradients(kept: Any, ahead: int, tiles: Any, state: Any, model: Any) -> bool:
    """Read what `forward.keep_gradients` wrote, and compute g_L; and the answers, if there are any.

    What is read next lies `ahead` numbers further.

    Returns:
        Whether there are answers.
    """
    first = 0
    for layer in range(model.layers - 1):
        load_kept(kept, first, ahead, tiles.layered[layer, GRADIENTS], model.hidden)
        first += model.hidden
    first = load_standardized(kept, first, ahead, tiles, INPUTS, INVERSE_STD, model)
    loss_gradient(tiles, state, model)
    answered = first < kept.shape[0]
    if answered:
        load_standardized(kept, first, ahead, tiles, ANSWERS, ANSWER_INVERSE_STD, model)
    return answered


@jit
def load_standardized(
    kept: Any, first: int, ahead: int, tiles: Any, kind: int, inverse_std: int, model: Any
) -> int:
    """Read what `forward.keep_standardized` wrote."""
    outputs = tiles.layered[model.layers, kind]
    scales = tiles.rows[inverse_std].reshape((outputs.shape[0], 1, outputs.shape[2]))
    load_kept(kept, first, ahead, outputs, model.dim)
    load_kept(kept, first + model.dim, ahead, scales, 1)
    return first + model.dim + 1


@jit
def load_kept(kept: Any, first: int, ahead: int, tile: Any, rows: int) -> None:
    """Read what `forward.keep_tile` wrote, and zeros into the padding.

    What `learn` has left there, of another head, may be no number.
    """
    size, vector = kept.shape[1], vector_length(tile)
    for p in range(tile.shape[0]):
        panel, lane = tile[p], p * vector
        for o in range(rows):
            at = (first + o) * size + lane
            prefetch(kept, at + ahead)
            if lane + vector <= size:
                put(panel, o, load(kept, at))
            else:
                put(panel, o, zeros(panel))
                for j in range(size - lane):
                    panel[o, j] = kept[first + o, lane + j]
        for o in range(rows, min(rows_of(rows), tile.shape[1])):
            put(panel, o, zeros(panel))


@jit
def recall(
    tiles: Any, state: Any, eps: Any, token_eta: Any, learned: bool, answered: bool, model: Any
) -> None:
    """Undo the step of a mini-batch, if it is complete, and compute again what came of its g.

    Of the keys all but z_L, which is at hand already, and so y_L may be: `answered`.
    """
    last = model.layers - 1
    for layer in range(model.layers):
        if learned:
            descend(tiles, state, layer, token_eta[len(token_eta) - 1], model)
        z, y = tiles.layered[layer + 1, INPUTS], tiles.layered[layer + 1, ANSWERS]
        bias, slopes = state.biases[layer], tiles.layered[layer, ANSWER_SLOPES]
        attend(tiles, layer, model)
        if layer == last and answered:
            continue
        push(y, state.weights, layer, tiles.layered[layer, ANSWERS], model, True)
        correct(tiles, layer, model)
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
    rows = tiles.by_token[OTHER]
    at, step = ((batch * tokens + start) * heads + head) * dim, heads * dim
    store_tile(gradients.q, at, step, tiles.single[DOUTPUT], rows, count, dim)
    store_tile(gradients.k, at, step, tiles.layered[0, DINPUTS], rows, count, dim)
    store_tile(gradients.v, at, step, tiles.single[DVALUES], rows, count, dim)
    for i in range(count):
        gradients.lr[batch, start + i, head] = tiles.rows[DRATES, i]
