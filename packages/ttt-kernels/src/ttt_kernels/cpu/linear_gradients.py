"""The gradients of one mini-batch of TTT-Linear; docs/kernels.md derives them.

Names: `d` before a name is the gradient of the outer loss with respect to it.
"""

from typing import Any, NamedTuple

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import multiply_add
from ttt_kernels.cpu.tiles import (
    BIAS,
    LN_B,
    LN_W,
    MASK,
    Tiles,
    aligned_zeros,
    fill_rows,
    fill_zeros,
    number,
    transpose,
)
from ttt_kernels.cpu.vector import load, store, total_of, vector_length, zeros


class Head(NamedTuple):
    """The state of one head, and the gradients that are summed up over its mini-batches.

    Attributes:
        weight: W, (D', D').
        by_output: its transpose, (D', D').
        rows: layer norm and bias; see `tiles`.
        dweight: of W at the end of the mini-batch, then at its start, (D', D').
        drows: of the layer norm and the bias, in the places of `rows`, (4, D').
        deta: of token_eta, (1, M').
    """

    weight: Any
    by_output: Any
    rows: Any
    dweight: Any
    drows: Any
    deta: Any


class GradientTiles(NamedTuple):
    """Scratch memory besides `Tiles`.

    Attributes:
        doutput: of the output, then of the queries, (M', D').
        dinner: `danswers` and below them `dnormed`, (2 M', D').
        danswers: of q W_i + b_i, (M', D').
        dnormed: of k W + b, (M', D').
        dgradients: of g, (M', D').
        dtargets: of k, while it holds only what comes through v - k: -d(v - k), (M', D').
        through_state: k dW' + db', (M', D').
        gradients_by_feature: (D', M').
        by_feature: (D', M').
        dattention: of q_i . k_j, (M', M').
        drates: of lr_j, (1, M').
    """

    doutput: Any
    dinner: Any
    danswers: Any
    dnormed: Any
    dgradients: Any
    dtargets: Any
    through_state: Any
    gradients_by_feature: Any
    by_feature: Any
    dattention: Any
    drates: Any


def make_gradient_tiles(tiles: Tiles) -> GradientTiles:
    """Allocate what `Tiles` has no memory for; what it needs no more is used again."""
    tokens, width = tiles.keys.shape
    like = tiles.keys
    dinner = aligned_zeros((2 * tokens, width), like)
    return GradientTiles(
        aligned_zeros((tokens, width), like),
        dinner,
        dinner[:tokens],
        dinner[tokens:],
        aligned_zeros((tokens, width), like),
        tiles.descents,
        tiles.answers,
        aligned_zeros((width, tokens), like),
        tiles.keys_by_feature,
        aligned_zeros((tokens, tokens), like),
        aligned_zeros((1, tokens), like),
    )


@jit
def mini_batch_gradients(
    sequence: Any, tiles: Any, grads: Any, head: Any, count: int, learned: bool
) -> None:
    """Turn the gradient of a mini-batch's output and end state into those of all it came from.

    Args:
        sequence: the arguments.
        tiles: after `learn` and `answer`.
        grads: with `doutput`; afterwards `doutput` is that of the queries, `dtargets` that of the
            keys, and the values' is what `dtargets` was before `key_gradients`.
        head: the state at the start of the mini-batch; its gradients are those at the end, and then
            those at the start.
        count: tokens.
        learned: whether a step of gradient descent followed.
    """
    tokens, width = tiles.causal.shape[1], tiles.keys.shape[1]
    dim = sequence.ln_w.shape[1]
    answer_gradients(tiles, grads, head, count, dim)
    transpose(grads.gradients_by_feature, tiles.gradients, count, dim)
    correction_gradients(sequence, tiles, grads, head, count, dim)
    fill_zeros(grads.dgradients, count)
    multiply_add(
        grads.dgradients, tiles.corrections, 1, tokens, grads.danswers, count, count, width
    )
    if learned:
        step_gradients(sequence, tiles, grads, head, count, dim)
    inner_loss_gradients(tiles, grads, head, count, dim)


@jit
def answer_gradients(tiles: Any, grads: Any, head: Any, count: int, dim: int) -> None:
    """Go back through the layer norm of the output: its parameters, and q W_i + b_i."""
    vector, width = vector_length(tiles.keys), tiles.keys.shape[1]
    per_dim = number(1.0 / dim, tiles.keys)
    for i in range(count):
        total, projection = zeros(tiles.keys), zeros(tiles.keys)
        for d in range(0, width, vector):
            upstream, normed = load(grads.doutput, i, d), load(tiles.answers, i, d)
            scaled = upstream * load(head.rows, LN_W, d)
            total += scaled
            projection += scaled * normed
            store(head.drows, LN_W, d, load(head.drows, LN_W, d) + upstream * normed)
            store(head.drows, LN_B, d, load(head.drows, LN_B, d) + upstream)
        mean, share = total_of(total) * per_dim, total_of(projection) * per_dim
        inverse_std = tiles.answer_inverse_std[i]
        for d in range(0, width, vector):
            scaled = load(grads.doutput, i, d) * load(head.rows, LN_W, d)
            centred = (scaled - mean) * load(head.rows, MASK, d)
            store(grads.danswers, i, d, (centred - load(tiles.answers, i, d) * share) * inverse_std)


@jit
def correction_gradients(
    sequence: Any, tiles: Any, grads: Any, head: Any, count: int, dim: int
) -> None:
    """Go back through eta_ij * (1 + q_i . k_j): the attention and both step sizes."""
    vector, tokens, width = vector_length(tiles.keys), tiles.causal.shape[1], tiles.keys.shape[1]
    one, dattention = number(1.0, tiles.keys), grads.dattention
    fill_zeros(dattention, count)
    multiply_add(
        dattention, grads.danswers, width, 1, grads.gradients_by_feature, count, dim, tokens
    )
    fill_zeros(grads.drates, 1)
    for i in range(count):
        eta = sequence.token_eta[i]
        deta = zeros(tiles.keys)
        for j in range(0, tokens, vector):
            rates = load(tiles.rates, 0, j)
            # of the correction that is subtracted: -(danswers_i . g_j), where it is causal
            upstream = load(tiles.causal, i, j) * (zeros(tiles.keys) - load(dattention, i, j))
            through_eta = upstream * (load(tiles.attention, i, j) + one)
            store(dattention, i, j, upstream * (rates * eta))
            store(grads.drates, 0, j, load(grads.drates, 0, j) + through_eta * eta)
            deta += through_eta * rates
        head.deta[0, i] += total_of(deta)


@jit
def step_gradients(sequence: Any, tiles: Any, grads: Any, head: Any, count: int, dim: int) -> None:
    """Go back through W' = W - (e * k)^T g, b' = b - e^T g: to g, e and, by features, to k."""
    vector, tokens, width = vector_length(tiles.keys), tiles.causal.shape[1], tiles.keys.shape[1]
    last_eta = sequence.token_eta[count - 1]
    through_state, by_feature = grads.through_state, grads.by_feature
    fill_rows(through_state, head.drows, BIAS, count)
    multiply_add(through_state, tiles.keys, width, 1, head.dweight, count, dim, width)
    for i in range(count):
        step = tiles.rates[0, i] * last_eta
        product = zeros(tiles.keys)
        for d in range(0, width, vector):
            content = load(through_state, i, d)
            product += content * load(tiles.gradients, i, d)
            store(grads.dgradients, i, d, load(grads.dgradients, i, d) - content * step)
        dstep = -total_of(product)
        grads.drates[0, i] += dstep * last_eta
        head.deta[0, count - 1] += dstep * tiles.rates[0, i]
    fill_zeros(by_feature, width)
    multiply_add(by_feature, head.dweight, width, 1, grads.gradients_by_feature, dim, dim, tokens)
    for j in range(0, tokens, vector):
        steps = load(tiles.rates, 0, j) * -last_eta
        for d in range(dim):
            store(by_feature, d, j, load(by_feature, d, j) * steps)


@jit
def inner_loss_gradients(tiles: Any, grads: Any, head: Any, count: int, dim: int) -> None:
    """Go back through g, the gradient of the inner loss: its layer norm, target and k W + b."""
    vector, width = vector_length(tiles.keys), tiles.keys.shape[1]
    per_dim, keys = number(1.0 / dim, tiles.keys), tiles.keys
    for i in range(count):
        inverse_std = tiles.inverse_std[i]
        sum_u, sum_ux, sum_ug, sum_ax = zeros(keys), zeros(keys), zeros(keys), zeros(keys)
        for d in range(0, width, vector):
            u, x = load(grads.dgradients, i, d), load(tiles.normed, i, d)
            scale = load(head.rows, LN_W, d)
            error = scale * x + load(head.rows, LN_B, d) - load(tiles.targets, i, d)
            sum_u += u
            sum_ux += u * x
            sum_ug += u * load(tiles.gradients, i, d)
            sum_ax += error * scale * x
        mean_u, mean_ux = total_of(sum_u) * per_dim, total_of(sum_ux) * per_dim
        mean_ug, mean_ax = total_of(sum_ug) * per_dim, total_of(sum_ax) * per_dim
        sum_x, sum_xx = zeros(keys), zeros(keys)
        for d in range(0, width, vector):
            u, x = load(grads.dgradients, i, d), load(tiles.normed, i, d)
            scale, mask = load(head.rows, LN_W, d), load(head.rows, MASK, d)
            error = scale * x + load(head.rows, LN_B, d) - load(tiles.targets, i, d)
            dupstream = ((u - mean_u) * mask - x * mean_ux) * inverse_std
            derror = dupstream * scale
            store(grads.dtargets, i, d, derror)
            store(head.drows, LN_W, d, load(head.drows, LN_W, d) + dupstream * error + derror * x)
            store(head.drows, LN_B, d, load(head.drows, LN_B, d) + derror)
            dx = derror * scale - (u * mean_ax + error * scale * mean_ux) * inverse_std
            store(grads.dnormed, i, d, dx)
            sum_x += dx
            sum_xx += dx * x
        mean_x = total_of(sum_x) * per_dim
        mean_xx = total_of(sum_xx) * per_dim + mean_ug  # the second: g itself is divided by the std
        for d in range(0, width, vector):
            centred = (load(grads.dnormed, i, d) - mean_x) * load(head.rows, MASK, d)
            x = load(tiles.normed, i, d)
            store(grads.dnormed, i, d, (centred - x * mean_xx) * inverse_std)


@jit
def query_gradients(tiles: Any, grads: Any, head: Any, count: int, dim: int) -> None:
    """Complete the gradient of the queries, in `doutput`."""
    tokens, width = tiles.causal.shape[1], tiles.keys.shape[1]
    multiply_add(grads.doutput, grads.danswers, width, 1, head.by_output, count, dim, width)
    multiply_add(grads.doutput, grads.dattention, tokens, 1, tiles.keys, count, count, width)


@jit
def key_gradients(tiles: Any, grads: Any, head: Any, count: int, dim: int, learned: bool) -> None:
    """Complete the gradient of the keys, in `dtargets`."""
    tokens, width = tiles.causal.shape[1], tiles.keys.shape[1]
    multiply_add(grads.dtargets, grads.dnormed, width, 1, head.by_output, count, dim, width)
    multiply_add(grads.dtargets, grads.dattention, 1, tokens, tiles.queries, count, count, width)
    if learned:
        through_step = grads.through_state  # what it held is no longer needed
        transpose(through_step, grads.by_feature, dim, count)
        for i in range(count):
            for d in range(0, width, vector_length(tiles.keys)):
                total = load(grads.dtargets, i, d) + load(through_step, i, d)
                store(grads.dtargets, i, d, total)


@jit
def state_gradients(tiles: Any, grads: Any, head: Any, count: int, dim: int) -> None:
    """Add what the mini-batch says of the state at its start."""
    width = tiles.keys.shape[1]
    tokens = tiles.keys.shape[0]
    if count == len(tiles.inverse_std):
        multiply_add(head.dweight, tiles.inputs, 1, width, grads.dinner, dim, 2 * tokens, width)
    else:
        multiply_add(head.dweight, tiles.queries, 1, width, grads.danswers, dim, count, width)
        multiply_add(head.dweight, tiles.keys, 1, width, grads.dnormed, dim, count, width)
    for d in range(0, width, vector_length(tiles.keys)):
        total = load(head.drows, BIAS, d)
        for i in range(count):
            total += load(grads.danswers, i, d) + load(grads.dnormed, i, d)
        store(head.drows, BIAS, d, total)
