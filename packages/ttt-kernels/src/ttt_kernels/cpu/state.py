"""The state of an inner model of any number of layers, one head at a time, as compiled code has it.

Between torch and compiled code a state is one row of numbers: per layer the weight (in, out) and
then the bias (out,), nothing padded.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.products import multiply
from ttt_kernels.cpu.tiles import (
    LN_B,
    LN_W,
    TOKEN_ETA,
    Model,
    aligned_zeros,
    padded,
    rows_of,
    width_in,
    width_out,
)
from ttt_kernels.cpu.vector import VECTOR_BYTES, vector_length

CACHE_BYTES = 1 << 19


class State(NamedTuple):
    """What belongs to one head, or gradients of it; or that of several, with a first axis.

    Attributes:
        weights: (L, C' / V, F', V), the columns in panels and zeros as padding; the first layer's
            by output feature, (out, in), all others by input feature, (in, out). So of the two
            vectors whose product updates a weight, the one that has to stand token by token is
            never wider than D if L <= 2.
        biases: (L, F').
        rows: weight and bias of the layer norm, and token_eta, (3, any).
    """

    weights: Any
    biases: Any
    rows: Any


def group_size(model: Model, tokens: int, dtype: np.dtype, states: int) -> int:
    """Heads to be read side by side, mini-batch by mini-batch.

    Tokens of different heads are neighbours in memory, (B, T, H, D), so that a head alone would
    touch as many pages as all of them; but their states have to stay in the second cache.
    """
    numbers = sum(map(math.prod, _shapes(1, model, tokens, dtype)))
    return max(1, CACHE_BYTES // (states * numbers * dtype.itemsize))


def make_states(count: int, model: Model, tokens: int, dtype: np.dtype) -> State:
    """Allocate states of zeros for mini-batches of so many tokens; not compiled."""
    return State(*(aligned_zeros(shape, dtype) for shape in _shapes(count, model, tokens, dtype)))


def _shapes(count: int, model: Model, tokens: int, dtype: np.dtype) -> list[tuple[int, ...]]:
    lanes = VECTOR_BYTES // dtype.itemsize
    columns = padded(model.dim if model.layers <= 2 else max(model.dim, model.hidden))
    width = padded(max(model.dim, model.hidden))
    return [
        (count, model.layers, columns // lanes, width, lanes),
        (count, model.layers, width),
        (count, 3, max(width, padded(tokens))),
    ]


@jit
def pick(states: Any, place: int) -> Any:
    """One of several."""
    return State(states.weights[place], states.biases[place], states.rows[place])


@jit
def load_head(state: Any, sequence: Any, start: Any, head: int, model: Any) -> None:
    """Load the state to start from, the layer norm and token_eta."""
    read_state(state, start, model)
    for d in range(model.dim):
        state.rows[LN_W, d] = sequence.ln_w[head, d]
        state.rows[LN_B, d] = sequence.ln_b[head, d]
    for i in range(len(sequence.token_eta)):
        state.rows[TOKEN_ETA, i] = sequence.token_eta[i]


@jit
def read_state(state: Any, numbers: Any, model: Any) -> None:
    """Load a row of numbers, and zeros into the padding.

    The head that was there before may have left something that is no number.
    """
    state.weights[:] = 0
    state.biases[:] = 0
    state.rows[:] = 0
    at = 0
    for layer in range(model.layers):
        for p in range(panels_of(layer, model, state.weights)):
            panel = state.weights[layer, p]
            first, rows, step, lanes, lane_step = place_of(layer, p, model, state.weights)
            for r in range(rows):
                for lane in range(lanes):
                    panel[r, lane] = numbers[at + first + r * step + lane * lane_step]
        inputs, outputs = width_in(model, layer), width_out(model, layer)
        at += inputs * outputs
        for o in range(outputs):
            state.biases[layer, o] = numbers[at + o]
        at += outputs


@jit
def write_state(numbers: Any, state: Any, model: Any) -> None:
    """Write what `read_state` loads."""
    at = 0
    for layer in range(model.layers):
        for p in range(panels_of(layer, model, state.weights)):
            panel = state.weights[layer, p]
            first, rows, step, lanes, lane_step = place_of(layer, p, model, state.weights)
            for r in range(rows):
                for lane in range(lanes):
                    numbers[at + first + r * step + lane * lane_step] = panel[r, lane]
        inputs, outputs = width_in(model, layer), width_out(model, layer)
        at += inputs * outputs
        for o in range(outputs):
            numbers[at + o] = state.biases[layer, o]
        at += outputs


@jit
def panels_of(layer: int, model: Any, weights: Any) -> int:
    """Panels of a layer's weight that hold more than padding."""
    columns, vector = (
        width_in(model, 0) if layer == 0 else width_out(model, layer),
        weights.shape[3],
    )
    return (columns + vector - 1) // vector


@jit
def place_of(layer: int, panel: int, model: Any, weights: Any) -> Any:
    """Where a panel's numbers are among those of its weight, (in, out).

    Returns:
        The first; how many rows there are, and numbers from one to the next; how many lanes, and
        numbers from one to the next.
    """
    inputs, outputs, vector = width_in(model, layer), width_out(model, layer), weights.shape[3]
    column = panel * vector
    if layer == 0:  # by output feature
        return column * outputs, outputs, 1, min(vector, inputs - column), outputs
    return column, inputs, outputs, min(vector, outputs - column), 1


@jit
def push(out: Any, weights: Any, layer: int, tile: Any, model: Any, fresh: bool) -> None:
    """Compute W^T x for the x of each token, added to what `out` holds unless it is `fresh`."""
    _through(out, weights, layer, layer > 0, tile, model, True, fresh)


@jit
def pull(out: Any, weights: Any, layer: int, tile: Any, model: Any, fresh: bool) -> None:
    """Compute W g for the g of each token."""
    _through(out, weights, layer, layer == 0, tile, model, False, fresh)


@jit
def _through(
    out: Any,
    weights: Any,
    layer: int,
    flipped: bool,
    tile: Any,
    model: Any,
    forward: bool,
    fresh: bool,
) -> None:
    _, _, height, vector = weights.shape
    inputs, outputs = rows_of(width_in(model, layer)), rows_of(width_out(model, layer))
    rows, inner = (outputs, inputs) if forward else (inputs, outputs)
    panels, step = tile.shape[0], tile.shape[1] * vector
    multiply(
        *(out, step, weights[layer], height * vector, flipped, tile, step),
        *(panels, rows, inner, fresh),
    )


@jit
def grow(weights: Any, layer: int, factors: Any, rows: Any, first: int, model: Any) -> None:
    """Add the sum over tokens of x g^T to a weight.

    Args:
        weights: of all layers.
        layer: which one.
        factors: by feature, any number of panels: g of the first layer, x of any other.
        rows: by token, (C' / V, any, V): x of the first layer, g of any other.
        first: row of the first token.
        model: sizes.
    """
    _, _, height, vector = weights.shape
    columns = model.dim if layer == 0 else width_out(model, layer)
    width = width_out(model, 0) if layer == 0 else model.hidden
    multiply(
        weights[layer],
        height * vector,
        factors,
        factors.shape[1] * vector,
        False,
        rows[0, first:],
        rows.shape[1] * vector,
        rows_of(columns) // vector_length(weights),
        rows_of(width),
        factors.shape[0] * vector,
        False,
    )
