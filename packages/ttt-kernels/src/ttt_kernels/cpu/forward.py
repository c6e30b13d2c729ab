"""The inner loop over a range of heads, one head after the other, its state in the cache."""

from typing import Any, NamedTuple

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.products import multiply
from ttt_kernels.cpu.state import grow, load_head, pick, pull, push, write_state
from ttt_kernels.cpu.tiles import (
    ANSWER_INVERSE_STD,
    ANSWERS,
    ATTENTIONS,
    CORRECTIONS,
    GRADIENTS,
    GROWTH,
    INPUTS,
    INVERSE_STD,
    LN_B,
    LN_W,
    OTHER,
    RATES,
    SCALED,
    SLOPES,
    STEPS,
    TARGETS,
    TOKENS,
    activate_with_slopes,
    by_token,
    load_steps,
    multiply_rows,
    number,
    rows_of,
    standardize,
    width_in,
    width_out,
)
from ttt_kernels.cpu.tokens import MiniBatch, claim_tokens, load_mini_batch, next_of, store_tile
from ttt_kernels.cpu.vector import (
    load,
    put,
    row,
    spread,
    store,
    stream,
    totals_of,
    vector_length,
    zeros,
)


class Outputs(NamedTuple):
    """Arrays that `scan` fills.

    Attributes:
        output: the numbers of (B, T, H, D).
        state: after the last complete mini-batch, (B, H, S); see `state`.
        gradients: what g of every complete mini-batch comes from, and the answers, (B, H, N, G, M)
            with G = (L - 1) F + 2 (D + 1): g_1 to g_{L-1}, the standardized z_L and its 1 / std,
            the standardized y_L and its 1 / std; N is 0 if they are not wanted.
        kept: states every `interval` mini-batches, at least the first, (B, H, K, S); K is 0 if they
            are not wanted.
    """

    output: Any
    state: Any
    gradients: Any
    kept: Any


@entry
def scan(
    sequence: Any,
    start: Any,
    outputs: Any,
    tiles: Any,
    states: Any,
    model: Any,
    first: int,
    last: int,
    interval: int,
) -> None:
    """Read all tokens of the heads `first` to `last - 1`, counted over the batch.

    Args:
        sequence: the arguments but for the state.
        start: states to start from, (B, H, S), or (1, H, S) if all sequences share them.
        outputs: filled in.
        tiles: scratch memory.
        states: scratch memory for as many heads as are read side by side.
        model: sizes.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches between the states that are kept.
    """
    heads, begin = sequence.ln_w.shape[0], first
    load_steps(tiles, sequence.token_eta)
    while begin < last:
        batch = begin // heads
        end = min(last, begin + len(states.weights), (batch + 1) * heads)
        given = start[0 if start.shape[0] == 1 else batch]
        for head in range(begin - batch * heads, end - batch * heads):
            state = pick(states, head + batch * heads - begin)
            load_head(state, sequence, given[head], head, model)
        read_group(sequence, outputs, tiles, states, model, begin, end, interval)
        for program in range(begin, end):
            state = pick(states, program - begin)
            write_state(outputs.state[batch, program % heads], state, model)
        begin = end


@jit
def read_group(
    sequence: Any,
    outputs: Any,
    tiles: Any,
    states: Any,
    model: Any,
    begin: int,
    end: int,
    interval: int,
) -> None:
    """Read all tokens of some heads of one sequence, side by side."""
    heads, tokens, size = sequence.ln_w.shape[0], sequence.lr.shape[1], len(sequence.token_eta)
    spans, kept_gradients = outputs.kept.shape[2], outputs.gradients.shape[2] > 0
    for at in range(0, tokens, size):
        count, index = min(size, tokens - at), at // size
        for program in range(begin, end):
            batch, head = program // heads, program % heads
            state = pick(states, program - begin)
            if index % interval == 0 and index // interval < spans:
                write_state(outputs.kept[batch, head, index // interval], state, model)
            following = next_of(program, begin, end, heads, at, size)
            place = ((batch * tokens + at) * heads + head) * model.dim
            claim_tokens(outputs.output, place, heads * model.dim, count, model.dim)
            load_mini_batch(sequence, tiles, MiniBatch(batch, head, at, count, following))
            learn(tiles, state, sequence.eps, model)
            answer(tiles, state, sequence.eps, model)
            write_output(tiles, state, outputs.output, place, heads * model.dim, count, model.dim)
            if count == size:
                if kept_gradients:
                    kept = outputs.gradients[batch, head, index]
                    after = keep_gradients(kept, tiles, model, False)
                    keep_standardized(
                        *(kept, after, tiles, ANSWERS, ANSWER_INVERSE_STD, model, False)
                    )
                for layer in range(model.layers):
                    descend(tiles, state, layer, -sequence.token_eta[size - 1], model)


@jit
def learn(tiles: Any, state: Any, eps: Any, model: Any) -> None:
    """Compute g_l of each key: the gradient of the inner loss at the output of each layer."""
    last = model.layers - 1
    for layer in range(model.layers):
        z, x = tiles.layered[layer + 1, INPUTS], tiles.layered[layer, INPUTS]
        push(z, state.weights, layer, x, model, True)
        if layer < last:
            activate_with_slopes(z, state.biases[layer], tiles.layered[layer, SLOPES], model.hidden)
        else:
            standardize(z, state.biases[layer], tiles.rows[INVERSE_STD], model.dim, eps)
    loss_gradient(tiles, state, model)
    for layer in range(last - 1, -1, -1):
        gradients, above = tiles.layered[layer, GRADIENTS], tiles.layered[layer + 1, GRADIENTS]
        pull(gradients, state.weights, layer + 1, above, model, True)
        multiply_rows(gradients, tiles.layered[layer, SLOPES], model.hidden)


@jit
def loss_gradient(tiles: Any, state: Any, model: Any) -> None:
    """Compute g_L = d/dz 0.5 ||LN(z) - (v - k)||^2 from the standardized z_L."""
    last, dim = model.layers - 1, model.dim
    normed = tiles.layered[model.layers, INPUTS]
    per_dim, vector = number(1.0 / dim, normed), vector_length(normed)
    ln_w, ln_b = state.rows[LN_W], state.rows[LN_B]
    for p in range(normed.shape[0]):
        n, g = normed[p], tiles.layered[last, GRADIENTS, p]
        targets = tiles.single[TARGETS, p]
        total, projection = zeros(normed), zeros(normed)
        for d in range(dim):
            x, scale = row(n, d), spread(ln_w, d)
            upstream = (x * scale + spread(ln_b, d) - row(targets, d)) * scale
            put(g, d, upstream)
            total += upstream
            projection += upstream * x
        mean, share = total * per_dim, projection * per_dim
        inverse_std = load(tiles.rows[INVERSE_STD], p * vector)
        for d in range(dim):
            put(g, d, (row(g, d) - mean - row(n, d) * share) * inverse_std)


@jit
def answer(tiles: Any, state: Any, eps: Any, model: Any) -> None:
    """Compute the inner model's output for each query, standardized."""
    last = model.layers - 1
    for layer in range(model.layers):
        y = tiles.layered[layer + 1, ANSWERS]
        push(y, state.weights, layer, tiles.layered[layer, ANSWERS], model, True)
        attend(tiles, layer, model)
        correct(tiles, layer, model)
        if layer < last:
            bias = state.biases[layer]
            for p in range(y.shape[0]):
                out = y[p]
                for o in range(model.hidden):
                    value, _, _ = gelu_terms(row(out, o) + spread(bias, o))
                    put(out, o, value)
    normed = tiles.layered[model.layers, ANSWERS]
    standardize(normed, state.biases[last], tiles.rows[ANSWER_INVERSE_STD], model.dim, eps)


@jit
def attend(tiles: Any, layer: int, model: Any) -> None:
    """Compute 1 + q x^T of one layer, and that times -eta."""
    queries, keys = tiles.layered[layer, ANSWERS], tiles.layered[layer, INPUTS]
    attention, corrections = tiles.squares[ATTENTIONS, layer], tiles.squares[CORRECTIONS, layer]
    steps, rates = tiles.squares[STEPS, 0], tiles.rows[RATES]
    panels, tokens, vector = attention.shape
    one, height = number(1.0, keys), keys.shape[1] * vector
    inner = rows_of(width_in(model, layer))
    multiply(
        *(attention, tokens * vector, keys, height, True, queries, height),
        *(panels, tokens, inner, True),
    )
    for p in range(panels):
        a, c, s = attention[p], corrections[p], steps[p]
        for j in range(tokens):
            product = row(a, j) + one
            put(a, j, product)
            put(c, j, zeros(a) - product * row(s, j) * spread(rates, j))


@jit
def correct(tiles: Any, layer: int, model: Any) -> None:
    """Turn q W of one layer into its answer but for the bias: q W - (eta * (1 + q x^T)) g."""
    corrections = tiles.squares[CORRECTIONS, layer]
    panels, tokens, vector = corrections.shape
    height = tiles.layered.shape[3] * vector
    multiply(
        *(tiles.layered[layer + 1, ANSWERS], height, tiles.layered[layer, GRADIENTS], height),
        *(False, corrections, tokens * vector, panels),
        *(rows_of(width_out(model, layer)), tokens, False),
    )


@jit
def write_output(
    tiles: Any, state: Any, output: Any, start: int, step: int, count: int, dim: int
) -> None:
    """Write q + LN(answer) into rows of D numbers, `step` from one to the next."""
    ln_w, ln_b = state.rows[LN_W], state.rows[LN_B]
    scaled = tiles.single[SCALED]
    for p in range(scaled.shape[0]):
        out, queries = scaled[p], tiles.layered[0, ANSWERS, p]
        normed = tiles.layered[tiles.layered.shape[0] - 1, ANSWERS, p]
        for d in range(dim):
            put(out, d, row(queries, d) + (row(normed, d) * spread(ln_w, d) + spread(ln_b, d)))
    store_tile(output, start, step, scaled, tiles.by_token[OTHER], count, dim)


@jit
def keep_gradients(kept: Any, tiles: Any, model: Any, soon: bool) -> int:
    """Copy what g of a mini-batch comes from to (any, M): g_1 to g_{L-1}, z_L standardized.

    Args:
        kept: rows of M numbers; not `soon`, they lie from the border of a line on.
        tiles: after `learn`.
        model: sizes.
        soon: whether it is read again soon, and not after all other mini-batches.

    Returns:
        The row after it.
    """
    first, last = 0, model.layers - 1
    for layer in range(last):
        keep_tile(kept, first, tiles.layered[layer, GRADIENTS], model.hidden, soon)
        first += model.hidden
    return keep_standardized(kept, first, tiles, INPUTS, INVERSE_STD, model, soon)


@jit
def keep_standardized(
    kept: Any, first: int, tiles: Any, kind: int, inverse_std: int, model: Any, soon: bool
) -> int:
    """Copy what `standardize` made of the last layer's outputs; see `keep_gradients`."""
    outputs = tiles.layered[model.layers, kind]
    scales = tiles.rows[inverse_std].reshape((outputs.shape[0], 1, outputs.shape[2]))
    keep_tile(kept, first, outputs, model.dim, soon)
    keep_tile(kept, first + model.dim, scales, 1, soon)
    return first + model.dim + 1


@jit
def keep_tile(kept: Any, first: int, tile: Any, rows: int, soon: bool) -> None:
    """Copy rows of a tile to the rows from `first` on."""
    size, vector = kept.shape[1], vector_length(tile)
    for p in range(tile.shape[0]):
        panel, lane = tile[p], p * vector
        for o in range(rows):
            at = (first + o) * size + lane
            if size % vector == 0 and not soon:
                stream(kept, at, row(panel, o))
            elif lane + vector <= size:
                store(kept, at, row(panel, o))
            else:
                for j in range(size - lane):
                    kept[first + o, lane + j] = panel[o, j]


@jit
def add_totals(sums: Any, panel: Any, rows: int) -> None:
    """Add to each number the sum over a row of a panel."""
    vector = vector_length(sums)
    for o in range(0, rows_of(rows), vector):
        store(sums, o, load(sums, o) + totals_of(panel, o))


@jit
def descend(tiles: Any, state: Any, layer: int, last_eta: Any, model: Any) -> None:
    """Take the step that ends a mini-batch: W + (e * x)^T g, b + e^T g, e_j = last_eta * lr_j.

    `last_eta` is negative to descend, and positive to undo it.
    """
    scaled, width = tiles.single[SCALED], width_out(model, layer)
    bias, vector = state.biases[layer], vector_length(tiles.rows)
    for p in range(scaled.shape[0]):
        gradients, out = tiles.layered[layer, GRADIENTS, p], scaled[p]
        rates = load(tiles.rows[RATES], p * vector) * last_eta
        for o in range(width):
            step = row(gradients, o) * rates
            put(out, o, step)
        for o in range(width, rows_of(width)):
            put(out, o, zeros(out))  # of a wider layer
        add_totals(bias, out, width)
    if layer == 0:
        tokens = tiles.rows.shape[1]
        grow(state.weights, layer, scaled, tiles.by_token[TOKENS], tokens, model)
    else:
        steps = tiles.by_token[GROWTH]
        by_token(steps, 0, scaled, width)
        grow(state.weights, layer, tiles.layered[layer, INPUTS], steps, 0, model)
