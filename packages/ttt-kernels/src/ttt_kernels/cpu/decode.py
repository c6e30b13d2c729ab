"""One token of every sequence, head after head: what `ttt_kernels.decode` else computes by torch.

A head's weights come from memory once and then from the cache, and a layer costs one call: each
matrix of the model around it sweeps the caches of what Python and torch need to run, so that every
further operation is slow, whatever it computes. All numbers lie as torch has them, nothing padded.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.addresses import addresses_of, part_of
from ttt_kernels.cpu.arrays import empty
from ttt_kernels.cpu.jit import entry, jit
from ttt_kernels.cpu.threads import share
from ttt_kernels.cpu.tiles import number, padded
from ttt_kernels.cpu.vector import load, spread, store, total_of, vector_length, zeros
from ttt_kernels.learned import Learned
from ttt_kernels.next_token import NextToken
from ttt_kernels.reference.update import InnerParameters

# Addresses: of the token and of what all layers share; after them the weights of all layers, then
# the biases, and both after the step where one is taken.
QUERY, KEY, VALUE, RATES, TOKEN_ETA, LN_W, LN_B, LEARNED, OUTPUT, SHARED = range(10)
WEIGHT, BIAS, END_WEIGHT, END_BIAS = range(4)
# Scratch rows: a layer's input and output; a factor for each open token; gelu' between the layers.
X, Z, FACTORS, SLOPES = range(4)
_ALONE = 1 << 20
"""Bytes of weights that one thread has read before others have begun."""


def decode_step(token: NextToken, *, descend: bool) -> tuple[Tensor, InnerParameters, Learned]:
    """Answer a token, and add what it teaches to what is known of the open ones.

    Args:
        token: checked; the state in float32 or float64.
        descend: take a step of gradient descent along all that has been learned.

    Returns:
        Output in the dtype of the query, the parameters, and `learned` with one token more.
    """
    q, k, v, token_eta, lr, parameters, learned, ln_w, ln_b, eps = token
    (batch, _, heads, dim), count = q.shape, lr.shape[1]
    weights, biases = parameters.weights, parameters.biases
    dtype = weights[0].dtype
    output = weights[0].new_empty(q.shape)
    learned = learned.with_room(len(token_eta))
    shared = q, k, v, lr, token_eta, ln_w, ln_b, learned.room, output
    tensors = [_plain(x, dtype) for x in (*shared, *weights, *biases)]
    if descend:
        ends = [empty(x.shape, x) for x in (*weights, *biases)]
        tensors += ends
        layers = len(weights)
        parameters = InnerParameters(tuple(ends[:layers]), tuple(ends[layers:]))
    addresses = addresses_of(tensors)
    sizes = [dim, *(weight.shape[3] for weight in weights)]
    shape = SLOPES + len(weights) - 1, padded(max(*sizes, count))
    room = learned.room.shape[2]
    widths, kind = np.array(sizes), np.float64 if dtype == torch.float64 else np.float32

    def work(first: int, last: int) -> None:
        rows = np.empty(shape, kind)
        decode(addresses, widths, rows, heads, count, room, kind(eps), descend, first, last)

    if sum(weight.nbytes for weight in weights) < _ALONE:
        work(0, batch * heads)
    else:
        share(work, batch * heads)
    return output if q.dtype == dtype else output.to(q.dtype), parameters, learned


def _plain(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Tensors as compiled code reads them; torch is slow to see that they are so already."""
    return x if x.dtype == dtype and x.is_contiguous() else x.to(dtype).contiguous()


class Token(NamedTuple):
    """What compiled code is told of the token of one head.

    Attributes:
        addresses: of contiguous tensors of one type, see above.
        widths: of the layers, D first and last, (L + 1,).
        learned: rows of the open tokens, its own the last, (count G,).
        count: of the open tokens.
        head: b * H + h.
        heads: H.
        eps: of the layer norm.
    """

    addresses: Any
    widths: Any
    learned: Any
    count: Any
    head: Any
    heads: Any
    eps: Any


@entry
def decode(
    addresses: Any,
    widths: Any,
    rows: Any,
    heads: int,
    count: int,
    room: int,
    eps: Any,
    descend: bool,
    first: int,
    last: int,
) -> None:
    """Read a token of the heads `first` to `last - 1`, counted over the batch.

    Args:
        addresses: of contiguous tensors of one type, see above.
        widths: of the layers, D first and last, (L + 1,).
        rows: scratch memory, (SLOPES + L - 1, any) of whole vectors, at least the widest and count.
        heads: H.
        count: open tokens, this one among them.
        room: rows for open tokens that there are for each head.
        eps: of the layer norm.
        descend: write the parameters after a step of gradient descent.
        first: number b * H + h of a head.
        last: excluded.
    """
    size = widths[:-1].sum() + widths[1:].sum()
    for head in range(first, last):
        learned = part_of(addresses, LEARNED, head, room * size, rows)[: count * size]
        token = Token(addresses, widths, learned, count, head, heads, eps)
        _learn(token, rows)
        _answer(token, rows)
        if descend:
            _descend(token, rows)


@jit
def _learn(token: Any, rows: Any) -> None:
    """Write x_l and g_l of the key behind those of the open tokens."""
    widths, x, z = token.widths, rows[X], rows[Z]
    layers, dim = len(widths) - 1, widths[0]
    own = token.learned[len(token.learned) // token.count * (token.count - 1) :]
    key = part_of(token.addresses, KEY, token.head, dim, rows)
    for d in range(dim):
        x[d] = key[d]
    at = 0
    for layer in range(layers):
        if layer:
            _activate(x, z, rows[SLOPES + layer - 1], widths[layer])
        for i in range(widths[layer]):
            own[at + i] = x[i]
        at += widths[layer]
        _through(token, layer, x, z)
    _loss_gradient(token, rows)
    at = len(own)
    for layer in range(layers - 1, -1, -1):
        inputs, outputs = widths[layer], widths[layer + 1]
        at -= outputs
        for o in range(outputs):
            own[at + o] = z[o]
        if layer:
            place = _place(layer, WEIGHT, layers)
            weight = part_of(token.addresses, place, token.head, inputs * outputs, rows)
            slopes = rows[SLOPES + layer - 1]
            dot_rows(x, weight, 0, outputs, z, inputs, outputs)
            for i in range(inputs):
                z[i] = x[i] * slopes[i]


@jit
def _loss_gradient(token: Any, rows: Any) -> None:
    """Replace z_L by g_L = d/dz 0.5 ||LN(z) - (v - k)||^2."""
    addresses, dim = token.addresses, token.widths[0]
    normed, z, per_dim = rows[X], rows[Z], number(1.0 / dim, rows)
    ln_w = part_of(addresses, LN_W, token.head % token.heads, dim, rows)
    ln_b = part_of(addresses, LN_B, token.head % token.heads, dim, rows)
    key = part_of(addresses, KEY, token.head, dim, rows)
    value = part_of(addresses, VALUE, token.head, dim, rows)
    inverse_std = _standardize(normed, z, dim, token.eps)
    total, projection = number(0.0, rows), number(0.0, rows)
    for d in range(dim):
        z[d] = (normed[d] * ln_w[d] + ln_b[d] - (value[d] - key[d])) * ln_w[d]
        total += z[d]
        projection += z[d] * normed[d]
    mean, part = total * per_dim, projection * per_dim
    for d in range(dim):
        z[d] = (z[d] - mean - normed[d] * part) * inverse_std


@jit
def _answer(token: Any, rows: Any) -> None:
    """Answer the query, all tokens up to its own learned: q + LN(f(q))."""
    addresses, widths, learned, count = token.addresses, token.widths, token.learned, token.count
    layers, dim, x, z, factors = len(widths) - 1, widths[0], rows[X], rows[Z], rows[FACTORS]
    size, one = len(learned) // count, number(1.0, rows)
    inputs, gradients = 0, widths[:-1].sum()
    query = part_of(addresses, QUERY, token.head, dim, rows)
    for d in range(dim):
        x[d] = query[d]
    for layer in range(layers):
        if layer:
            _activate(x, z, rows[SLOPES + layer - 1], widths[layer])
        _through(token, layer, x, z)
        dot_rows(factors, learned, inputs, size, x, count, widths[layer])
        for j in range(count):
            factors[j] = (one + factors[j]) * _step(token, j, rows)
        add_rows(z, factors, learned, gradients, size, count, widths[layer + 1])
        inputs += widths[layer]
        gradients += widths[layer + 1]
    ln_w = part_of(addresses, LN_W, token.head % token.heads, dim, rows)
    ln_b = part_of(addresses, LN_B, token.head % token.heads, dim, rows)
    output = part_of(addresses, OUTPUT, token.head, dim, rows)
    _standardize(x, z, dim, token.eps)
    for d in range(dim):
        output[d] = query[d] + (x[d] * ln_w[d] + ln_b[d])


@jit
def _descend(token: Any, rows: Any) -> None:
    """Take the step that ends a mini-batch: W - (e * x)^T g, b - e^T g, e_j = last eta * lr_j."""
    addresses, widths, learned, count = token.addresses, token.widths, token.learned, token.count
    layers, factors, steps, size = len(widths) - 1, rows[FACTORS], rows[X], len(learned) // count
    for j in range(count):
        steps[j] = _step(token, j, rows)
    at, gradients = 0, widths[:-1].sum()
    for layer in range(layers):
        inputs, outputs = widths[layer], widths[layer + 1]
        bias = part_of(addresses, _place(layer, BIAS, layers), token.head, outputs, rows)
        end = part_of(addresses, _place(layer, END_BIAS, layers), token.head, outputs, rows)
        for o in range(outputs):
            end[o] = bias[o]
        add_rows(end, steps, learned, gradients, size, count, outputs)
        before, after = _place(layer, WEIGHT, layers), _place(layer, END_WEIGHT, layers)
        for i in range(inputs):
            weight = part_of(addresses, before, token.head * inputs + i, outputs, rows)
            end = part_of(addresses, after, token.head * inputs + i, outputs, rows)
            for o in range(outputs):
                end[o] = weight[o]
            for j in range(count):
                factors[j] = steps[j] * learned[j * size + at + i]
            add_rows(end, factors, learned, gradients, size, count, outputs)
        at += inputs
        gradients += outputs


@jit
def _place(layer: int, kind: int, layers: int) -> int:
    """Index of an address of a layer."""
    return SHARED + kind * layers + layer


@jit
def _step(token: Any, j: int, like: Any) -> Any:
    """How far the newest token moves along the gradient of token j: -eta = -token_eta * lr_j."""
    count, heads = token.count, token.heads
    token_eta = part_of(token.addresses, TOKEN_ETA, 0, count, like)
    rates = part_of(token.addresses, RATES, token.head // heads, count * heads, like)
    return -token_eta[count - 1] * rates[j * heads + token.head % heads]


@jit
def _through(token: Any, layer: int, x: Any, z: Any) -> None:
    """Compute z = x W + b of one layer."""
    layers, inputs, outputs = len(token.widths) - 1, token.widths[layer], token.widths[layer + 1]
    bias = part_of(token.addresses, _place(layer, BIAS, layers), token.head, outputs, x)
    place = _place(layer, WEIGHT, layers)
    weight = part_of(token.addresses, place, token.head, inputs * outputs, x)
    for o in range(outputs):
        z[o] = bias[o]
    add_rows(z, x, weight, 0, outputs, inputs, outputs)


@jit
def _activate(x: Any, z: Any, slopes: Any, width: int) -> None:
    """Compute x = gelu(z), and gelu'."""
    for o in range(0, width, vector_length(x)):
        value, slope, _ = gelu_terms(load(z, o))
        store(x, o, value)
        store(slopes, o, slope)


@jit
def _standardize(normed: Any, z: Any, dim: int, eps: Any) -> Any:
    """Give z zero mean and unit biased variance, and return 1 / std."""
    per_dim, total, squares = number(1.0 / dim, z), number(0.0, z), number(0.0, z)
    for d in range(dim):
        total += z[d]
    mean = total * per_dim
    for d in range(dim):
        normed[d] = z[d] - mean
        squares += normed[d] * normed[d]
    inverse_std = number(1.0, z) / np.sqrt(squares * per_dim + eps)
    for d in range(dim):
        normed[d] *= inverse_std
    return inverse_std


@jit
def add_rows(
    out: Any, factors: Any, matrix: Any, first: int, step: int, rows: int, columns: int
) -> None:
    """Add a row vector times a matrix (rows, columns).

    Args:
        out: added to, (columns,) or more.
        factors: (rows,) or more.
        matrix: the memory the matrix is in.
        first: its first number there.
        step: numbers from one row to the next.
        rows: of the matrix.
        columns: of the matrix.
    """
    vector = vector_length(out)
    for o in range(0, columns // (4 * vector) * 4 * vector, 4 * vector):
        # As many sums as keep the adders busy.
        p, q, r = o + vector, o + 2 * vector, o + 3 * vector
        a, b, c, d = load(out, o), load(out, p), load(out, q), load(out, r)
        for i in range(rows):
            factor, at = spread(factors, i), first + i * step
            a += factor * load(matrix, at + o)
            b += factor * load(matrix, at + p)
            c += factor * load(matrix, at + q)
            d += factor * load(matrix, at + r)
        store(out, o, a)
        store(out, p, b)
        store(out, q, c)
        store(out, r, d)
    whole = columns // vector * vector
    for o in range(columns // (4 * vector) * 4 * vector, whole, vector):
        a = load(out, o)
        for i in range(rows):
            a += spread(factors, i) * load(matrix, first + i * step + o)
        store(out, o, a)
    for o in range(whole, columns):
        for i in range(rows):
            out[o] += factors[i] * matrix[first + i * step + o]


@jit
def dot_rows(out: Any, matrix: Any, first: int, step: int, x: Any, rows: int, columns: int) -> None:
    """Compute a matrix (rows, columns) times a column vector x; arguments as for `add_rows`."""
    vector = vector_length(out)
    whole = columns // vector * vector
    for i in range(rows):
        at, total = first + i * step, zeros(out)
        for o in range(0, whole, vector):
            total += load(x, o) * load(matrix, at + o)
        product = total_of(total)
        for o in range(whole, columns):
            product += x[o] * matrix[at + o]
        out[i] = product
