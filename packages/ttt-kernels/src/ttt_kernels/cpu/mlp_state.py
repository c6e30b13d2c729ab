"""The state of an MLP of any number of layers, one head at a time, as compiled code holds it.

Between torch and compiled code a state is one row of numbers: per layer the weight (in, out) and
then the bias (out,), nothing padded.
"""

from typing import Any, NamedTuple

import numpy as np

from ttt_kernels.cpu.jit import jit
from ttt_kernels.cpu.simd import multiply_add, multiply_add_tall
from ttt_kernels.cpu.tiles import aligned_zeros

UNIT = 16
"""Everything is padded to a multiple of it: the tallest tile and the longest vector."""
ONE = np.int64(1)
"""A step of one. Numba takes a one written as such for a type of its own, and compiles anew."""


class Model(NamedTuple):
    """Sizes of the inner model.

    Attributes:
        layers: L >= 2.
        dim: D, width of its input and output.
        hidden: F, width of everything between.
    """

    layers: Any
    dim: Any
    hidden: Any


class State(NamedTuple):
    """Weights and biases of one head, or gradients of theirs.

    Attributes:
        weights: (L, F', C') with zeros as padding; the first layer's by output feature, (out, in),
            all others by input feature, (in, out). So of the two vectors whose product updates a
            weight, the one that has to stand token by token is never wider than D if L = 2.
        biases: (L, W', 1), or (L, W', M') where each lane holds a part of the sum.
    """

    weights: Any
    biases: Any


def padded(size: int) -> int:
    """Round up to a multiple of UNIT."""
    return (size + UNIT - 1) // UNIT * UNIT


_padded = jit(padded)


@jit
def width_in(model: Any, layer: int) -> int:
    """Features that a layer reads."""
    return model.dim if layer == 0 else model.hidden


@jit
def width_out(model: Any, layer: int) -> int:
    """Features that a layer writes."""
    return model.dim if layer == model.layers - 1 else model.hidden


def make_state(model: Model, lanes: int, like: np.ndarray) -> State:
    """Allocate a state of zeros; not compiled."""
    columns = model.dim if model.layers == 2 else max(model.dim, model.hidden)
    width = padded(max(model.dim, model.hidden))
    return State(
        aligned_zeros((model.layers, padded(model.hidden), padded(columns)), like),
        aligned_zeros((model.layers, width, lanes), like),
    )


@jit
def read_state(state: Any, row: Any, model: Any) -> None:
    """Load a row of numbers; of each bias into the first lane, zeros into the others."""
    at = 0
    for layer in range(model.layers):
        inputs, outputs = width_in(model, layer), width_out(model, layer)
        for i in range(inputs):
            for o in range(outputs):
                if layer == 0:
                    state.weights[0, o, i] = row[at + o]
                else:
                    state.weights[layer, i, o] = row[at + o]
            at += outputs
        for o in range(outputs):
            for lane in range(state.biases.shape[2]):
                state.biases[layer, o, lane] = 0
            state.biases[layer, o, 0] = row[at + o]
        at += outputs


@jit
def write_state(row: Any, state: Any, model: Any) -> None:
    """Write what `read_state` loads."""
    at = 0
    for layer in range(model.layers):
        inputs, outputs = width_in(model, layer), width_out(model, layer)
        for i in range(inputs):
            for o in range(outputs):
                row[at + o] = state.weights[0, o, i] if layer == 0 else state.weights[layer, i, o]
            at += outputs
        for o in range(outputs):
            total = state.biases[layer, o, 0]
            for lane in range(1, state.biases.shape[2]):
                total += state.biases[layer, o, lane]
            row[at + o] = total
        at += outputs


@jit
def push(out: Any, weights: Any, layer: int, tile: Any, model: Any) -> None:
    """Add W^T x for the x of each token: `tile` (in, M'), `out` (out, M')."""
    matrix, step = weights[layer], weights.shape[2]
    row_step, inner_step = (step, 1) if layer == 0 else (1, step)
    inner, rows = width_in(model, layer), width_out(model, layer)
    multiply_add_tall(out, matrix, row_step, inner_step, tile, rows, inner, out.shape[1])


@jit
def pull(out: Any, weights: Any, layer: int, tile: Any, model: Any) -> None:
    """Add W g for the g of each token: `tile` (out, M'), `out` (in, M')."""
    matrix, step = weights[layer], weights.shape[2]
    row_step, inner_step = (1, step) if layer == 0 else (step, 1)
    inner, rows = width_out(model, layer), width_in(model, layer)
    multiply_add_tall(out, matrix, row_step, inner_step, tile, rows, inner, out.shape[1])


@jit
def grow(weights: Any, layer: int, by_feature: Any, by_token: Any, count: int, model: Any) -> None:
    """Add the sum over tokens of x g^T to a weight.

    Args:
        weights: (L, F', C').
        layer: which one.
        by_feature: (F', M'), the g of the first layer, the x of any other.
        by_token: (M', any), the x of the first layer, the g of any other.
        count: tokens.
        model: sizes.
    """
    columns = model.dim if layer == 0 else width_out(model, layer)
    lanes = by_feature.shape[1]
    multiply_add(
        weights[layer], by_feature, lanes, 1, by_token, model.hidden, count, _padded(columns)
    )
