"""The gradients of one mini-batch of TTT-MLP; `reference.mini_batch_backward` derives them.

Names: `d` before a name is the gradient of the outer loss with respect to it.
"""

from typing import Any

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.mlp_state import ONE, grow, pull, push, width_in, width_out
from ttt_kernels.cpu.mlp_tiles import (
    ANSWER,
    ANSWER_INVERSE_STD,
    ANSWER_SLOPES,
    ANSWERS,
    ATTENTIONS,
    CORRECTIONS,
    CURVATURES,
    DANSWERS,
    DATTENTION,
    DESCENTS,
    DETA,
    DGRADIENTS,
    DINPUTS,
    DKEYS,
    DLN_B,
    DLN_W,
    DOUTPUT,
    DRATES,
    DTARGETS,
    FLIPPED,
    GRADIENTS,
    INPUTS,
    INVERSE_STD,
    KEYS,
    LN_B,
    LN_W,
    NORMED,
    OTHER,
    PULLED,
    QUERIES,
    RATES,
    SCALED,
    SLOPES,
    TARGETS,
    TOKEN_ETA,
    add_rows,
    fill_biases,
    multiply_rows,
)
from ttt_kernels.cpu.simd import multiply_add_tall
from ttt_kernels.cpu.tiles import fill_zeros, number, transpose
from ttt_kernels.cpu.vector import load, store, total_of, vector_length, zeros


@jit
def mini_batch_gradients(
    tiles: Any, state: Any, dstate: Any, last_eta: Any, count: int, learned: bool, model: Any
) -> None:
    """Turn the gradient of a mini-batch's output and end state into those of all it came from.

    Args:
        tiles: after `mlp_backward.recall`, with the gradient of the output. Afterwards DOUTPUT is
            that of the queries, DINPUTS of the first layer that of the keys, DTARGETS the values',
            with the other sign.
        state: at the start of the mini-batch.
        dstate: at its end, and then at its start.
        last_eta: step size of the last token of a mini-batch.
        count: tokens.
        learned: whether a step of gradient descent followed.
        model: sizes.
    """
    last = model.layers - 1
    output_gradients(tiles, model.dim)
    for layer in range(model.layers):
        if learned:
            step_gradients(tiles, dstate, layer, last_eta, count, model)
        else:
            fill_zeros(tiles.layered[DINPUTS, layer], width_in(model, layer))
            fill_zeros(tiles.layered[DGRADIENTS, layer], width_out(model, layer))
    for layer in range(last, -1, -1):
        answer_gradients(tiles, state, dstate, layer, count, model)
    for layer in range(last):
        chain_gradients(tiles, state, dstate, layer, count, model)
    loss_gradients(tiles, model)
    for layer in range(last, -1, -1):
        layer_gradients(tiles, state, dstate, layer, count, model)
    add_rows(tiles.layered[DINPUTS, 0], tiles.single[DTARGETS], model.dim)


@jit
def output_gradients(tiles: Any, dim: int) -> None:
    """Go back through q + LN(answer): the layer norm's parameters, and the answer."""
    upstreams, answers = tiles.single[DOUTPUT], tiles.single[ANSWER]
    dln_w, dln_b = tiles.single[DLN_W], tiles.single[DLN_B]
    danswers = tiles.layered[DANSWERS, tiles.layered.shape[1] - 1]
    per_dim = number(1.0 / dim, answers)
    for j in range(0, answers.shape[1], vector_length(answers)):
        total, projection = zeros(answers), zeros(answers)
        for d in range(dim):
            upstream, normed = load(upstreams, d, j), load(answers, d, j)
            scaled = upstream * tiles.norm[LN_W, d]
            total += scaled
            projection += scaled * normed
            store(danswers, d, j, scaled)
            store(dln_w, d, j, load(dln_w, d, j) + upstream * normed)
            store(dln_b, d, j, load(dln_b, d, j) + upstream)
        mean, share = total * per_dim, projection * per_dim
        inverse_std = load(tiles.rows, ANSWER_INVERSE_STD, j)
        for d in range(dim):
            centred = load(danswers, d, j) - mean - load(answers, d, j) * share
            store(danswers, d, j, centred * inverse_std)


@jit
def step_gradients(
    tiles: Any, dstate: Any, layer: int, last_eta: Any, count: int, model: Any
) -> None:
    """Go back through W' = W - (e * x)^T g, b' = b - e^T g, e_j = last_eta * lr_j.

    First of all, while the gradient of the state is still that of W' and b'.
    """
    inputs, outputs = width_in(model, layer), width_out(model, layer)
    dgradients, dinputs = tiles.layered[DGRADIENTS, layer], tiles.layered[DINPUTS, layer]
    gradients = tiles.layered[GRADIENTS, layer]
    fill_biases(dgradients, dstate.biases[layer], outputs)
    push(dgradients, dstate.weights, layer, tiles.layered[INPUTS, layer], model)
    fill_zeros(dinputs, inputs)
    pull(dinputs, dstate.weights, layer, gradients, model)
    for j in range(0, gradients.shape[1], vector_length(gradients)):
        step, dstep = load(tiles.rows, RATES, j) * -last_eta, zeros(gradients)
        for o in range(outputs):
            moved = load(dgradients, o, j)
            dstep += moved * load(gradients, o, j)
            store(dgradients, o, j, moved * step)
        for i in range(inputs):
            store(dinputs, i, j, load(dinputs, i, j) * step)
        drates = load(tiles.rows, DRATES, j) - dstep * last_eta
        store(tiles.rows, DRATES, j, drates)
        deta = total_of(dstep * load(tiles.rows, RATES, j))
        tiles.rows[DETA, count - 1] -= deta


@jit
def answer_gradients(
    tiles: Any, state: Any, dstate: Any, layer: int, count: int, model: Any
) -> None:
    """Go back through a layer on the way of the queries, q W + b - (eta * (1 + q x^T)) g."""
    inputs, outputs = width_in(model, layer), width_out(model, layer)
    danswers, queries = tiles.layered[DANSWERS, layer], tiles.layered[ANSWERS, layer]
    keys, gradients = tiles.layered[INPUTS, layer], tiles.layered[GRADIENTS, layer]
    dattention, flipped = tiles.squares[DATTENTION, 0], tiles.squares[FLIPPED, 0]
    tokens = dattention.shape[0]
    fill_zeros(dattention, tokens)
    multiply_add_tall(dattention, gradients, ONE, tokens, danswers, tokens, outputs, tokens)
    correction_gradients(tiles, tiles.squares[ATTENTIONS, layer])
    transpose(flipped, tiles.squares[CORRECTIONS, layer], tokens, tokens)
    dgradients, dinputs = tiles.layered[DGRADIENTS, layer], tiles.layered[DINPUTS, layer]
    multiply_add_tall(dgradients, danswers, tokens, ONE, flipped, outputs, count, tokens)
    transpose(flipped, dattention, tokens, tokens)
    multiply_add_tall(dinputs, queries, tokens, ONE, flipped, inputs, count, tokens)
    add_rows(dstate.biases[layer], danswers, outputs)
    if layer == 0:
        grow(dstate.weights, layer, danswers, tiles.by_token[QUERIES], count, model)
        dqueries = tiles.single[DOUTPUT]
    else:
        transpose(tiles.by_token[OTHER], danswers, outputs, tiles.rows.shape[1])
        grow(dstate.weights, layer, queries, tiles.by_token[OTHER], count, model)
        dqueries = tiles.layered[DANSWERS, layer - 1]
        fill_zeros(dqueries, inputs)
    pull(dqueries, state.weights, layer, danswers, model)
    multiply_add_tall(dqueries, keys, tokens, ONE, dattention, inputs, count, tokens)
    if layer > 0:
        multiply_rows(dqueries, tiles.layered[ANSWER_SLOPES, layer - 1], inputs)


@jit
def correction_gradients(tiles: Any, attention: Any) -> None:
    """Go back through eta_ij * (1 + q_i . x_j): both step sizes, and the attention.

    DATTENTION holds danswer_i . g_j, minus the gradient of the correction that is subtracted.
    """
    dattention, descents = tiles.squares[DATTENTION, 0], tiles.squares[DESCENTS, 0]
    vector, nothing = vector_length(dattention), number(0.0, dattention)
    tokens = dattention.shape[0]
    for j in range(tokens):
        drate, rate = zeros(dattention), tiles.rows[RATES, j]
        for i in range(j):
            dattention[j, i] = nothing  # not causal
        for i in range(0, tokens, vector):
            product = load(dattention, j, i)
            through_eta = product * load(attention, j, i)
            deta = load(tiles.rows, DETA, i) - through_eta * rate
            store(tiles.rows, DETA, i, deta)
            drate += through_eta * load(tiles.rows, TOKEN_ETA, i)
            store(dattention, j, i, product * load(descents, j, i))
        tiles.rows[DRATES, j] -= total_of(drate)


@jit
def chain_gradients(
    tiles: Any, state: Any, dstate: Any, layer: int, count: int, model: Any
) -> None:
    """Go back through g = (g_+ W_+^T) * gelu'(z), + being the layer above."""
    dgradients, dkeys = tiles.layered[DGRADIENTS, layer], tiles.layered[DKEYS, layer]
    slopes, curvatures = tiles.layered[SLOPES, layer], tiles.layered[CURVATURES, layer]
    pulled, dpulled = tiles.layered[PULLED, layer], tiles.single[SCALED]
    for o in range(model.hidden):
        for j in range(0, dkeys.shape[1], vector_length(dkeys)):
            upstream = load(dgradients, o, j)
            store(dpulled, o, j, upstream * load(slopes, o, j))
            store(dkeys, o, j, upstream * load(pulled, o, j) * load(curvatures, o, j))
    above = layer + 1
    push(tiles.layered[DGRADIENTS, above], state.weights, above, dpulled, model)
    gradients = tiles.layered[GRADIENTS, above]
    transpose(tiles.by_token[OTHER], gradients, width_out(model, above), tiles.rows.shape[1])
    grow(dstate.weights, above, dpulled, tiles.by_token[OTHER], count, model)


@jit
def layer_gradients(
    tiles: Any, state: Any, dstate: Any, layer: int, count: int, model: Any
) -> None:
    """Go back through z = x W + b on the way of the keys, and through the gelu that made x."""
    dkeys, dinputs = tiles.layered[DKEYS, layer], tiles.layered[DINPUTS, layer]
    add_rows(dstate.biases[layer], dkeys, width_out(model, layer))
    if layer == 0:
        grow(dstate.weights, layer, dkeys, tiles.by_token[KEYS], count, model)
    else:
        transpose(tiles.by_token[OTHER], dkeys, width_out(model, layer), tiles.rows.shape[1])
        inputs = tiles.layered[INPUTS, layer]
        grow(dstate.weights, layer, inputs, tiles.by_token[OTHER], count, model)
    pull(dinputs, state.weights, layer, dkeys, model)
    if layer > 0:
        slopes, below = tiles.layered[SLOPES, layer - 1], tiles.layered[DKEYS, layer - 1]
        for o in range(model.hidden):
            for j in range(0, below.shape[1], vector_length(below)):
                through = load(dinputs, o, j) * load(slopes, o, j)
                store(below, o, j, load(below, o, j) + through)


@jit
def loss_gradients(tiles: Any, model: Any) -> None:
    """Go back through g_L, the gradient of the inner loss: its layer norm, target and z_L."""
    last, dim = model.layers - 1, model.dim
    normed, targets, derrors = (
        tiles.single[NORMED],
        tiles.single[TARGETS],
        tiles.single[DTARGETS],
    )
    dln_w, dln_b = tiles.single[DLN_W], tiles.single[DLN_B]
    upstreams, dkeys = tiles.layered[DGRADIENTS, last], tiles.layered[DKEYS, last]
    gradients, per_dim = tiles.layered[GRADIENTS, last], number(1.0 / dim, normed)
    for j in range(0, normed.shape[1], vector_length(normed)):
        inverse_std = load(tiles.rows, INVERSE_STD, j)
        sum_u, sum_ux, sum_ug, sum_ax = zeros(normed), zeros(normed), zeros(normed), zeros(normed)
        for d in range(dim):
            u, x, scale = load(upstreams, d, j), load(normed, d, j), tiles.norm[LN_W, d]
            error = x * scale + tiles.norm[LN_B, d] - load(targets, d, j)
            sum_u += u
            sum_ux += u * x
            sum_ug += u * load(gradients, d, j)
            sum_ax += error * scale * x
        mean_u, mean_ux = sum_u * per_dim, sum_ux * per_dim
        mean_ug, mean_ax = sum_ug * per_dim, sum_ax * per_dim
        sum_x, sum_xx = zeros(normed), zeros(normed)
        for d in range(dim):
            u, x, scale = load(upstreams, d, j), load(normed, d, j), tiles.norm[LN_W, d]
            error = x * scale + tiles.norm[LN_B, d] - load(targets, d, j)
            dupstream = (u - mean_u - x * mean_ux) * inverse_std
            derror = dupstream * scale
            store(derrors, d, j, derror)
            store(dln_w, d, j, load(dln_w, d, j) + dupstream * error + derror * x)
            store(dln_b, d, j, load(dln_b, d, j) + derror)
            dx = derror * scale - (u * mean_ax + error * scale * mean_ux) * inverse_std
            store(dkeys, d, j, dx)
            sum_x += dx
            sum_xx += dx * x
        mean_x = sum_x * per_dim
        mean_xx = sum_xx * per_dim + mean_ug  # the second: g itself is divided by the std
        for d in range(dim):
            centred = load(dkeys, d, j) - mean_x - load(normed, d, j) * mean_xx
            store(dkeys, d, j, centred * inverse_std)
