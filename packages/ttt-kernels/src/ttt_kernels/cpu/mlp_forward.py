"""TTT-MLP over a range of heads, one head after the other, its state in the second cache."""

from typing import Any, NamedTuple

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.mlp_state import (
    ONE,
    grow,
    pull,
    push,
    read_state,
    width_in,
    width_out,
    write_state,
)
from ttt_kernels.cpu.mlp_tiles import (
    ANSWER,
    ANSWER_INVERSE_STD,
    ANSWERS,
    ATTENTIONS,
    CORRECTIONS,
    DESCENTS,
    GRADIENTS,
    INPUTS,
    INVERSE_STD,
    KEYS,
    LN_B,
    LN_W,
    NORMED,
    OTHER,
    RATES,
    SCALED,
    SLOPES,
    TARGETS,
    activate,
    fill_biases,
    load_mini_batch,
    load_norm,
    multiply_rows,
    standardize,
)
from ttt_kernels.cpu.simd import multiply_add_tall
from ttt_kernels.cpu.tiles import fill_zeros, number, store_tokens, transpose
from ttt_kernels.cpu.vector import load, store, total_of, vector_length, zeros


class Outputs(NamedTuple):
    """Arrays that `scan` fills.

    Attributes:
        output: the numbers of (B, T, H, D).
        state: after the last complete mini-batch, (B, H, S); see `mlp_state`.
        gradients: g of every complete mini-batch, (B, H, N, G, M) with G = (L - 1) F + D, layer
            after layer; N is 0 if they are not wanted.
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
    state: Any,
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
        state: scratch memory.
        model: sizes.
        first: number b * H + h of a head.
        last: excluded.
        interval: mini-batches between the states that are kept.
    """
    heads = sequence.ln_w.shape[0]
    tokens, size = sequence.lr.shape[1], len(sequence.token_eta)
    spans, kept_gradients = outputs.kept.shape[2], outputs.gradients.shape[2] > 0
    for program in range(first, last):
        batch, head = program // heads, program % heads
        load_norm(sequence, tiles, head)
        read_state(state, start[0 if start.shape[0] == 1 else batch, head], model)
        for at in range(0, tokens, size):
            count, index = min(size, tokens - at), at // size
            if index % interval == 0 and index // interval < spans:
                write_state(outputs.kept[batch, head, index // interval], state, model)
            load_mini_batch(sequence, tiles, batch, head, at, count, size)
            learn(tiles, state, sequence.eps, model)
            answer(tiles, state, sequence.eps, count, model)
            write_output(sequence, tiles, outputs.output, batch, head, at, count)
            if count == size:
                if kept_gradients:
                    keep_gradients(outputs.gradients[batch, head, index], tiles, model)
                for layer in range(model.layers):
                    descend(tiles, state, layer, -sequence.token_eta[size - 1], count, model)
        write_state(outputs.state[batch, head], state, model)


@jit
def learn(tiles: Any, state: Any, eps: Any, model: Any) -> None:
    """Compute g_l of each key: the gradient of the inner loss at the output of each layer."""
    last = model.layers - 1
    for layer in range(last):
        z = tiles.layered[INPUTS, layer + 1]
        fill_biases(z, state.biases[layer], model.hidden)
        push(z, state.weights, layer, tiles.layered[INPUTS, layer], model)
        activate(z, tiles.layered[SLOPES, layer], model.hidden)
    loss_gradient(tiles, state, eps, model)
    for layer in range(last - 1, -1, -1):
        gradients = tiles.layered[GRADIENTS, layer]
        fill_zeros(gradients, model.hidden)
        pull(gradients, state.weights, layer + 1, tiles.layered[GRADIENTS, layer + 1], model)
        multiply_rows(gradients, tiles.layered[SLOPES, layer], model.hidden)


@jit
def loss_gradient(tiles: Any, state: Any, eps: Any, model: Any) -> None:
    """Compute z_L and g_L = d/dz 0.5 ||LN(z) - (v - k)||^2."""
    last, dim, normed = model.layers - 1, model.dim, tiles.single[NORMED]
    vector, gradients = vector_length(normed), tiles.layered[GRADIENTS, last]
    fill_biases(normed, state.biases[last], dim)
    push(normed, state.weights, last, tiles.layered[INPUTS, last], model)
    standardize(normed, tiles.rows[INVERSE_STD], dim, eps)
    per_dim, targets = number(1.0 / dim, normed), tiles.single[TARGETS]
    for j in range(0, normed.shape[1], vector):
        total, projection = zeros(normed), zeros(normed)
        for d in range(dim):
            x, scale = load(normed, d, j), tiles.norm[LN_W, d]
            upstream = (x * scale + tiles.norm[LN_B, d] - load(targets, d, j)) * scale
            store(gradients, d, j, upstream)
            total += upstream
            projection += upstream * x
        mean, share = total * per_dim, projection * per_dim
        inverse_std = load(tiles.rows, INVERSE_STD, j)
        for d in range(dim):
            centred = load(gradients, d, j) - mean
            store(gradients, d, j, (centred - load(normed, d, j) * share) * inverse_std)


@jit
def answer(tiles: Any, state: Any, eps: Any, count: int, model: Any) -> None:
    """Compute the inner model's output for each query, standardized."""
    last = model.layers - 1
    for layer in range(last):
        z = tiles.layered[ANSWERS, layer + 1]
        respond(z, tiles, state, layer, count, model)
        for o in range(model.hidden):
            for j in range(0, z.shape[1], vector_length(z)):
                value, _, _ = gelu_terms(load(z, o, j))
                store(z, o, j, value)
    respond(tiles.single[ANSWER], tiles, state, last, count, model)
    standardize(tiles.single[ANSWER], tiles.rows[ANSWER_INVERSE_STD], model.dim, eps)


@jit
def respond(out: Any, tiles: Any, state: Any, layer: int, count: int, model: Any) -> None:
    """Answer with one layer in dual form: q W + b - (eta * (1 + q x^T)) g."""
    queries, keys = tiles.layered[ANSWERS, layer], tiles.layered[INPUTS, layer]
    attention, corrections = tiles.squares[ATTENTIONS, layer], tiles.squares[CORRECTIONS, layer]
    descents = tiles.squares[DESCENTS, 0]
    tokens, one = attention.shape[0], number(1.0, out)
    fill_zeros(attention, tokens)
    multiply_add_tall(attention, keys, ONE, tokens, queries, tokens, width_in(model, layer), tokens)
    for j in range(tokens):
        for i in range(0, tokens, vector_length(out)):
            product = load(attention, j, i) + one
            store(attention, j, i, product)
            store(corrections, j, i, product * load(descents, j, i))
    rows = width_out(model, layer)
    fill_biases(out, state.biases[layer], rows)
    push(out, state.weights, layer, queries, model)
    multiply_add_tall(
        out, tiles.layered[GRADIENTS, layer], tokens, ONE, corrections, rows, count, tokens
    )


@jit
def write_output(
    sequence: Any, tiles: Any, output: Any, batch: int, head: int, start: int, count: int
) -> None:
    """Write q + LN(answer)."""
    tokens, heads = sequence.lr.shape[1:]
    dim, queries = sequence.ln_w.shape[1], tiles.layered[ANSWERS, 0]
    normed, scaled = tiles.single[ANSWER], tiles.single[SCALED]
    for d in range(dim):
        for j in range(0, queries.shape[1], vector_length(queries)):
            content = load(normed, d, j) * tiles.norm[LN_W, d] + tiles.norm[LN_B, d]
            store(scaled, d, j, load(queries, d, j) + content)
    transpose(tiles.by_token[OTHER], scaled, dim, tiles.rows.shape[1])
    at = ((batch * tokens + start) * heads + head) * dim
    store_tokens(output, tiles.by_token[OTHER], at, heads * dim, count, dim)


@jit
def keep_gradients(kept: Any, tiles: Any, model: Any) -> None:
    """Copy g_l of all layers to (G, M)."""
    row, size, vector = 0, kept.shape[1], vector_length(tiles.rows)
    whole = size // vector * vector
    for layer in range(model.layers):
        gradients = tiles.layered[GRADIENTS, layer]
        for o in range(width_out(model, layer)):
            for j in range(0, whole, vector):
                store(kept, row, j, load(gradients, o, j))
            for j in range(whole, size):
                kept[row, j] = gradients[o, j]
            row += 1


@jit
def descend(tiles: Any, state: Any, layer: int, last_eta: Any, count: int, model: Any) -> None:
    """Take the step that ends a mini-batch: W + (e * x)^T g, b + e^T g, e_j = last_eta * lr_j.

    `last_eta` is negative to descend, and positive to undo it.
    """
    gradients, scaled, rows = (
        tiles.layered[GRADIENTS, layer],
        tiles.single[SCALED],
        width_out(model, layer),
    )
    for o in range(rows):
        total = zeros(scaled)
        for j in range(0, scaled.shape[1], vector_length(scaled)):
            step = load(gradients, o, j) * (load(tiles.rows, RATES, j) * last_eta)
            store(scaled, o, j, step)
            total += step
        state.biases[layer, o, 0] += total_of(total)
    if layer == 0:
        grow(state.weights, layer, scaled, tiles.by_token[KEYS], count, model)
    else:
        transpose(tiles.by_token[OTHER], scaled, rows, tiles.rows.shape[1])
        grow(
            state.weights, layer, tiles.layered[INPUTS, layer], tiles.by_token[OTHER], count, model
        )
