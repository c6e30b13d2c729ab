"""The gradients of one mini-batch; docs/kernels.md derives them.

Names: `d` before a name is the gradient of the outer loss with respect to it.
"""

from typing import Any

from ttt_kernels.cpu.forward import add_totals
from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.products import multiply
from ttt_kernels.cpu.state import grow, pull, push
from ttt_kernels.cpu.tiles import (
    ANSWER_INVERSE_STD,
    ANSWER_SLOPES,
    ANSWERS,
    ATTENTIONS,
    CAUSAL,
    CORRECTIONS,
    CURVATURES,
    DANSWERS,
    DATTENTION,
    DGRADIENTS,
    DINPUTS,
    DKEYS,
    DLN_B,
    DLN_W,
    DOUTPUT,
    DPULLED,
    DRATES,
    DVALUES,
    FLIPPED,
    GRADIENTS,
    GROWTH,
    INPUTS,
    INVERSE_STD,
    LN_B,
    LN_W,
    PULLED,
    RATES,
    SLOPES,
    STEPS,
    TARGETS,
    TOKEN_ETA,
    TOKENS,
    by_token,
    multiply_rows,
    number,
    rows_of,
    width_in,
    width_out,
)
from ttt_kernels.cpu.vector import (
    load,
    put,
    row,
    spread,
    store,
    total_of,
    transpose_square,
    vector_length,
    zeros,
)


@jit
def mini_batch_gradients(
    tiles: Any, state: Any, dstate: Any, count: int, learned: bool, model: Any
) -> None:
    """Turn the gradient of a mini-batch's output and end state into those of all it came from.

    Args:
        tiles: after `backward.recall`, with the gradient of the output. Afterwards DOUTPUT is that
            of the queries, DINPUTS of the first layer that of the keys, DVALUES the values'.
        state: at the start of the mini-batch.
        dstate: at its end, and then at its start.
        count: tokens.
        learned: whether a step of gradient descent followed.
        model: sizes.
    """
    last = model.layers - 1
    output_gradients(tiles, state, model.dim)
    for layer in range(model.layers):
        if learned:
            step_gradients(tiles, state, dstate, layer, count, model)
        else:
            tiles.layered[layer, DINPUTS] = 0
            tiles.layered[layer, DGRADIENTS] = 0
    for layer in range(last, -1, -1):
        answer_gradients(tiles, state, dstate, layer, model)
    for layer in range(last):
        chain_gradients(tiles, state, layer, model)
    loss_gradients(tiles, state, model)
    for layer in range(last, -1, -1):
        layer_gradients(tiles, state, layer, model)
        state_gradients(tiles, dstate, layer, model)
    for p in range(tiles.single.shape[1]):
        dkeys, dvalues = tiles.layered[0, DINPUTS, p], tiles.single[DVALUES, p]
        for d in range(model.dim):  # the target is v - k
            put(dkeys, d, row(dkeys, d) - row(dvalues, d))
        add_totals(dstate.rows[LN_W], tiles.single[DLN_W, p], model.dim)
        add_totals(dstate.rows[LN_B], tiles.single[DLN_B, p], model.dim)


@jit
def output_gradients(tiles: Any, state: Any, dim: int) -> None:
    """Go back through q + LN(answer): the layer norm's parameters, and the answer."""
    layers = tiles.layered.shape[0] - 1
    per_dim, vector = number(1.0 / dim, tiles.rows), vector_length(tiles.rows)
    ln_w = state.rows[LN_W]
    for p in range(tiles.single.shape[1]):
        upstreams, answers = tiles.single[DOUTPUT, p], tiles.layered[layers, ANSWERS, p]
        danswers = tiles.layered[layers - 1, DANSWERS, p]
        dln_w, dln_b = tiles.single[DLN_W, p], tiles.single[DLN_B, p]
        total, projection = zeros(answers), zeros(answers)
        for d in range(dim):
            upstream, normed = row(upstreams, d), row(answers, d)
            scaled = upstream * spread(ln_w, d)
            total += scaled
            projection += scaled * normed
            put(danswers, d, scaled)
            put(dln_w, d, upstream * normed)
            put(dln_b, d, upstream)
        mean, share = total * per_dim, projection * per_dim
        inverse_std = load(tiles.rows[ANSWER_INVERSE_STD], p * vector)
        for d in range(dim):
            centred = row(danswers, d) - mean - row(answers, d) * share
            put(danswers, d, centred * inverse_std)


@jit
def step_gradients(tiles: Any, state: Any, dstate: Any, layer: int, count: int, model: Any) -> None:
    """Go back through W' = W - (e * x)^T g, b' = b - e^T g, e_j = last_eta * lr_j.

    First of all, while the gradient of the state is still that of W' and b'.
    """
    inputs, outputs = width_in(model, layer), width_out(model, layer)
    own, bias, vector = tiles.layered[layer], dstate.biases[layer], vector_length(tiles.rows)
    push(own[DGRADIENTS], dstate.weights, layer, own[INPUTS], model, True)
    pull(own[DINPUTS], dstate.weights, layer, own[GRADIENTS], model, True)
    rates, drates = tiles.rows[RATES], tiles.rows[DRATES]
    last_eta = state.rows[TOKEN_ETA, count - 1]
    for p in range(tiles.layered.shape[2]):
        gradients, dgradients, dinputs = own[GRADIENTS, p], own[DGRADIENTS, p], own[DINPUTS, p]
        rate, dstep = load(rates, p * vector), zeros(gradients)
        step = rate * -last_eta
        for o in range(outputs):
            moved = row(dgradients, o) + spread(bias, o)
            dstep += moved * row(gradients, o)
            put(dgradients, o, moved * step)
        for i in range(inputs):
            put(dinputs, i, row(dinputs, i) * step)
        store(drates, p * vector, load(drates, p * vector) - dstep * last_eta)
        dstate.rows[TOKEN_ETA, count - 1] -= total_of(dstep * rate)


@jit
def answer_gradients(tiles: Any, state: Any, dstate: Any, layer: int, model: Any) -> None:
    """Go back through a layer on the way of the queries, q W + b - (eta * (1 + q x^T)) g."""
    own, squares = tiles.layered[layer], tiles.squares
    dattention, flipped = squares[DATTENTION, 0], squares[FLIPPED, 0]
    panels, tokens, vector = dattention.shape
    height, square = own.shape[2] * vector, tokens * vector
    inputs, outputs = rows_of(width_in(model, layer)), rows_of(width_out(model, layer))
    multiply(
        *(dattention, square, own[GRADIENTS], height, True, own[DANSWERS], height),
        *(panels, tokens, outputs, True),
    )
    correction_gradients(tiles, state, dstate, squares[ATTENTIONS, layer])
    flip(flipped, squares[CORRECTIONS, layer])
    multiply(
        *(own[DGRADIENTS], height, own[DANSWERS], height, False, flipped, square),
        *(panels, outputs, tokens, False),
    )
    flip(flipped, dattention)
    multiply(
        *(own[DINPUTS], height, own[ANSWERS], height, False, flipped, square),
        *(panels, inputs, tokens, False),
    )
    dqueries = tiles.single[DOUTPUT]
    if layer > 0:
        below = tiles.layered[layer - 1]
        dqueries = below[DANSWERS]
        pull(below[PULLED], state.weights, layer, own[GRADIENTS], model, True)
    pull(dqueries, state.weights, layer, own[DANSWERS], model, layer > 0)
    multiply(
        *(dqueries, height, own[INPUTS], height, False, dattention, square),
        *(panels, inputs, tokens, False),
    )
    if layer > 0:
        multiply_rows(dqueries, tiles.layered[layer - 1, ANSWER_SLOPES], model.hidden)


@jit
def flip(out: Any, square: Any) -> None:
    """Transpose a matrix of tokens by tokens."""
    panels, _, vector = square.shape
    for p in range(panels):
        for other in range(panels):
            transpose_square(
                *(out[other], p * vector * vector, vector),
                *(square[p], other * vector * vector, vector),
            )


@jit
def correction_gradients(tiles: Any, state: Any, dstate: Any, attention: Any) -> None:
    """Go back through eta_ij * (1 + q_i . x_j): both step sizes, and the attention.

    DATTENTION holds danswer_i . g_j, minus the gradient of the correction that is subtracted.
    """
    panels, tokens, vector = attention.shape
    rates, drates, deta = tiles.rows[RATES], tiles.rows[DRATES], dstate.rows[TOKEN_ETA]
    for p in range(panels):
        dattention, a = tiles.squares[DATTENTION, 0, p], attention[p]
        causal, steps = tiles.squares[CAUSAL, 0, p], tiles.squares[STEPS, 0, p]
        total, token_eta = load(deta, p * vector), load(state.rows[TOKEN_ETA], p * vector)
        for j in range(tokens):
            product, rate = row(dattention, j), spread(rates, j)
            through_eta = product * row(a, j) * row(causal, j)
            total -= through_eta * rate
            drates[j] -= total_of(through_eta * token_eta)
            put(dattention, j, zeros(a) - product * row(steps, j) * rate)
        store(deta, p * vector, total)


@jit
def chain_gradients(tiles: Any, state: Any, layer: int, model: Any) -> None:
    """Go back through g = (g_+ W_+^T) * gelu'(z), + being the layer above."""
    own, above = tiles.layered[layer], layer + 1
    for p in range(tiles.layered.shape[2]):
        dgradients, dkeys, pulled = own[DGRADIENTS, p], own[DKEYS, p], own[PULLED, p]
        slopes, curvatures = own[SLOPES, p], own[CURVATURES, p]
        dpulled = tiles.layered[above, DPULLED, p]
        for o in range(model.hidden):
            upstream = row(dgradients, o)
            put(dpulled, o, upstream * row(slopes, o))
            put(dkeys, o, upstream * row(pulled, o) * row(curvatures, o))
    dpulled, dgradients = tiles.layered[above, DPULLED], tiles.layered[above, DGRADIENTS]
    push(dgradients, state.weights, above, dpulled, model, False)


@jit
def layer_gradients(tiles: Any, state: Any, layer: int, model: Any) -> None:
    """Go back through z = x W + b on the way of the keys, and through the gelu that made x."""
    own = tiles.layered[layer]
    pull(own[DINPUTS], state.weights, layer, own[DKEYS], model, False)
    if layer == 0:
        return
    for p in range(tiles.layered.shape[2]):
        dinputs, slopes = own[DINPUTS, p], tiles.layered[layer - 1, SLOPES, p]
        below = tiles.layered[layer - 1, DKEYS, p]
        for o in range(model.hidden):
            put(below, o, row(below, o) + row(dinputs, o) * row(slopes, o))


@jit
def state_gradients(tiles: Any, dstate: Any, layer: int, model: Any) -> None:
    """Add what a mini-batch says of a layer's state: q^T dy + x^T dz, and h^T g by the chain."""
    own, bias, outputs = tiles.layered[layer], dstate.biases[layer], width_out(model, layer)
    kinds, panels, width, vector = own.shape
    for p in range(panels):
        add_totals(bias, own[DANSWERS, p], outputs)
        add_totals(bias, own[DKEYS, p], outputs)
    together = own.reshape((kinds * panels, width, vector))
    if layer == 0:
        factors = together[DANSWERS * panels : (DKEYS + 1) * panels]
        grow(dstate.weights, 0, factors, tiles.by_token[TOKENS], 0, model)
    else:
        rows, tokens = tiles.by_token[GROWTH], tiles.rows.shape[1]
        by_token(rows, 0, own[DANSWERS], outputs)
        by_token(rows, tokens, own[GRADIENTS], outputs)
        by_token(rows, 2 * tokens, own[DKEYS], outputs)
        factors = together[ANSWERS * panels : (INPUTS + 1) * panels]
        grow(dstate.weights, layer, factors, rows, 0, model)


@jit
def loss_gradients(tiles: Any, state: Any, model: Any) -> None:
    """Go back through g_L, the gradient of the inner loss: its layer norm, target and z_L."""
    last, dim, vector = model.layers - 1, model.dim, vector_length(tiles.rows)
    ln_w, ln_b, per_dim = state.rows[LN_W], state.rows[LN_B], number(1.0 / dim, tiles.rows)
    for p in range(tiles.single.shape[1]):
        normed, targets = tiles.layered[last + 1, INPUTS, p], tiles.single[TARGETS, p]
        upstreams, dkeys = tiles.layered[last, DGRADIENTS, p], tiles.layered[last, DKEYS, p]
        gradients, dvalues = tiles.layered[last, GRADIENTS, p], tiles.single[DVALUES, p]
        dln_w, dln_b = tiles.single[DLN_W, p], tiles.single[DLN_B, p]
        inverse_std = load(tiles.rows[INVERSE_STD], p * vector)
        sum_u, sum_ux, sum_ug, sum_ax = zeros(normed), zeros(normed), zeros(normed), zeros(normed)
        for d in range(dim):
            u, x, scale = row(upstreams, d), row(normed, d), spread(ln_w, d)
            error = x * scale + spread(ln_b, d) - row(targets, d)
            sum_u += u
            sum_ux += u * x
            sum_ug += u * row(gradients, d)
            sum_ax += error * scale * x
        mean_u, mean_ux = sum_u * per_dim, sum_ux * per_dim
        mean_ug, mean_ax = sum_ug * per_dim, sum_ax * per_dim
        sum_x, sum_xx = zeros(normed), zeros(normed)
        for d in range(dim):
            u, x, scale = row(upstreams, d), row(normed, d), spread(ln_w, d)
            error = x * scale + spread(ln_b, d) - row(targets, d)
            dupstream = (u - mean_u - x * mean_ux) * inverse_std
            derror = dupstream * scale
            put(dvalues, d, zeros(normed) - derror)
            put(dln_w, d, row(dln_w, d) + dupstream * error + derror * x)
            put(dln_b, d, row(dln_b, d) + derror)
            dx = derror * scale - (u * mean_ax + error * scale * mean_ux) * inverse_std
            put(dkeys, d, dx)
            sum_x += dx
            sum_xx += dx * x
        mean_x = sum_x * per_dim
        mean_xx = sum_xx * per_dim + mean_ug  # the second: g itself is divided by the std
        for d in range(dim):
            centred = row(dkeys, d) - mean_x - row(normed, d) * mean_xx
            put(dkeys, d, centred * inverse_std)
