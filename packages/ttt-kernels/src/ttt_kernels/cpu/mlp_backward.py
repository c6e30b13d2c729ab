"""The backward pass of TTT-MLP: from the last mini-batch to the first, the state walked back.

A layer's step W' = W - (e * x)^T g is undone by adding what it took away. Its x is known once the
layers below it are back at the start of the mini-batch, so with g at hand no state but the last is
needed. The forward pass keeps g of the whole sequence, or states at intervals; then g is computed
again from one state to the next.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.mlp_forward import (
    descend,
    keep_gradients,
    learn,
    loss_gradient,
    respond,
)
from ttt_kernels.cpu.mlp_gradients import mini_batch_gradients
from ttt_kernels.cpu.mlp_state import pull, push, read_state, width_out, write_state
from ttt_kernels.cpu.mlp_tiles import (
    ANSWER,
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
    OTHER,
    PULLED,
    SLOPES,
    activate,
    fill_biases,
    load_mini_batch,
    load_norm,
    load_tokens,
    standardize,
)
from ttt_kernels.cpu.tiles import fill_zeros, store_tokens, transpose
from ttt_kernels.cpu.vector import load, store, total_of, vector_length, zeros


class Upstream(NamedTuple):
    """What arrives at the results of the forward pass, and what it left.

    Attributes:
        output: gradient of the output, as `Sequence.q`.
        steps: numbers from one sequence, token and head to the next in `output`, (3,).
        state: of the final state, (B, H, S).
        gradients: g as `mlp_forward.Outputs`; N is 0 if states were kept.
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
        tokens: of q, k and v, each the numbers of (B, T, H, D), (3, B * T * H * D).
        lr: (B, T, H).
        token_eta: (B, H, M).
        state: (B, H, S).
        norm: of the layer norm's weight and bias, (2, B, H, D).
    """

    tokens: Any
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
        states: scratch memory for a state and its gradient; the biases of the latter in lanes.
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
        start_head(sequence, upstream, tiles, dstate, batch, head, model)
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
                        descend(tiles, state, layer, -last_eta, size, model)
            stop = tokens if span == spans - 1 else end * size
            at = (stop - 1) // size * size
            while at >= begin * size:
                count = min(size, stop - at)
                load_mini_batch(sequence, tiles, batch, head, at, count, -size)
                load_upstream(upstream, tiles, batch, head, at, count, -size, model.dim)
                learned = count == size
                if learned:
                    load_gradients(kept[at // size - begin], tiles, model)
                recall(tiles, state, sequence.eps, last_eta, count, learned, model)
                mini_batch_gradients(tiles, state, dstate, last_eta, count, learned, model)
                write_tokens(gradients, tiles, batch, head, at, count)
                at -= size
        end_head(gradients, tiles, dstate, batch, head, model)


@jit
def start_head(
    sequence: Any, upstream: Any, tiles: Any, dstate: Any, batch: int, head: int, model: Any
) -> None:
    """Load the layer norm and the gradient of the final state; nothing is summed up yet."""
    load_norm(sequence, tiles, head)
    read_state(dstate, upstream.state[batch, head], model)
    fill_zeros(tiles.single[DLN_W], model.dim)
    fill_zeros(tiles.single[DLN_B], model.dim)
    for i in range(tiles.rows.shape[1]):
        tiles.rows[DETA, i] = 0


@jit
def end_head(gradients: Any, tiles: Any, dstate: Any, batch: int, head: int, model: Any) -> None:
    """Write the gradients that were summed up."""
    write_state(gradients.state[batch, head], dstate, model)
    for part in range(2):
        sums = tiles.single[DLN_W + part]
        for d in range(model.dim):
            total = zeros(sums)
            for j in range(0, sums.shape[1], vector_length(sums)):
                total += load(sums, d, j)
            gradients.norm[part, batch, head, d] = total_of(total)
    for i in range(gradients.token_eta.shape[2]):
        gradients.token_eta[batch, head, i] = tiles.rows[DETA, i]


@jit
def load_upstream(
    upstream: Any, tiles: Any, batch: int, head: int, start: int, count: int, ahead: int, dim: int
) -> None:
    """Load the gradient of the output of some tokens; none arrives at those that fill up."""
    doutput, by_token = tiles.single[DOUTPUT], tiles.by_token[OTHER]
    load_tokens(by_token, upstream.output, upstream.steps, batch, head, start, count, ahead, dim)
    for i in range(count, by_token.shape[0]):
        for d in range(dim):
            by_token[i, d] = 0
    transpose(doutput, by_token, tiles.rows.shape[1], dim)
    for i in range(tiles.rows.shape[1]):
        tiles.rows[DRATES, i] = 0


@jit
def load_gradients(kept: Any, tiles: Any, model: Any) -> None:
    """Read what `mlp_forward.keep_gradients` wrote."""
    row, size, vector = 0, kept.shape[1], vector_length(tiles.rows)
    whole = size // vector * vector
    for layer in range(model.layers):
        gradients = tiles.layered[GRADIENTS, layer]
        for o in range(width_out(model, layer)):
            for j in range(0, whole, vector):
                store(gradients, o, j, load(kept, row, j))
            for j in range(whole, size):
                gradients[o, j] = kept[row, j]
            row += 1


@jit
def recall(
    tiles: Any, state: Any, eps: Any, last_eta: Any, count: int, learned: bool, model: Any
) -> None:
    """Undo the step of a mini-batch, if it is complete, and compute again what led to it."""
    last = model.layers - 1
    for layer in range(model.layers):
        if learned:
            descend(tiles, state, layer, last_eta, count, model)
        if layer < last:
            z = tiles.layered[INPUTS, layer + 1]
            fill_biases(z, state.biases[layer], model.hidden)
            push(z, state.weights, layer, tiles.layered[INPUTS, layer], model)
            bend(z, tiles.layered[SLOPES, layer], tiles.layered[CURVATURES, layer], model.hidden)
    loss_gradient(tiles, state, eps, model)
    for layer in range(last - 1, -1, -1):
        pulled, gradients = tiles.layered[PULLED, layer], tiles.layered[GRADIENTS, layer]
        fill_zeros(pulled, model.hidden)
        pull(pulled, state.weights, layer + 1, tiles.layered[GRADIENTS, layer + 1], model)
        slopes = tiles.layered[SLOPES, layer]
        for o in range(model.hidden):
            for j in range(0, pulled.shape[1], vector_length(pulled)):
                store(gradients, o, j, load(pulled, o, j) * load(slopes, o, j))
    for layer in range(last):
        z = tiles.layered[ANSWERS, layer + 1]
        respond(z, tiles, state, layer, count, model)
        activate(z, tiles.layered[ANSWER_SLOPES, layer], model.hidden)
    respond(tiles.single[ANSWER], tiles, state, last, count, model)
    standardize(tiles.single[ANSWER], tiles.rows[ANSWER_INVERSE_STD], model.dim, eps)


@jit
def bend(tile: Any, slopes: Any, curvatures: Any, rows: int) -> None:
    """Replace z by gelu(z), and keep gelu'(z) and gelu''(z)."""
    for o in range(rows):
        for j in range(0, tile.shape[1], vector_length(tile)):
            value, slope, curvature = gelu_terms(load(tile, o, j))
            store(tile, o, j, value)
            store(slopes, o, j, slope)
            store(curvatures, o, j, curvature)


@jit
def write_tokens(gradients: Any, tiles: Any, batch: int, head: int, start: int, count: int) -> None:
    """Write the gradients of a mini-batch's tokens."""
    _, tokens, heads = gradients.lr.shape
    dim, by_token, dtargets = gradients.norm.shape[3], tiles.by_token[OTHER], tiles.single[DTARGETS]
    at, step = ((batch * tokens + start) * heads + head) * dim, heads * dim
    transpose(by_token, tiles.single[DOUTPUT], dim, tiles.rows.shape[1])
    store_tokens(gradients.tokens[0], by_token, at, step, count, dim)
    transpose(by_token, tiles.layered[DINPUTS, 0], dim, tiles.rows.shape[1])
    store_tokens(gradients.tokens[1], by_token, at, step, count, dim)
    for d in range(dim):
        for j in range(0, dtargets.shape[1], vector_length(dtargets)):
            store(dtargets, d, j, zeros(dtargets) - load(dtargets, d, j))
    transpose(by_token, dtargets, dim, tiles.rows.shape[1])
    store_tokens(gradients.tokens[2], by_token, at, step, count, dim)
    for i in range(count):
        gradients.lr[batch, start + i, head] = tiles.rows[DRATES, i]
