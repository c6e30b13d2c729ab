"""Pieces that the kernels are built of: pure functions, tiles in, tiles out.

Letters, here and in the kernels: M tokens of a mini-batch, D features of a head, both padded to
powers of two. A tile of activations is (M, D) with a token in each row, the state W is (D_in,
D_out). Padded features are kept at zero by whoever loads or centers them; padded tokens have a rate
of zero.
"""

import triton
import triton.language as tl

from ttt_kernels.gpu.arguments import Gradients, Inputs, Start, State


@triton.jit
def tile_end(tokens: tl.tensor, size: tl.constexpr, rows: tl.constexpr) -> tl.tensor:
    """Where the numbers of tiles end: tiles of `rows` tokens, in mini-batches of `size`.

    Where a mini-batch is one tile, its number is its first token, and a loop goes in steps of
    `size`: nothing is left to compute. Otherwise tiles are counted.
    """
    if size <= rows:
        return tokens
    return tokens // size * tl.cdiv(size, rows) + tl.cdiv(tokens % size, rows)


@triton.jit
def tile_at(
    tile: tl.tensor, tokens: tl.tensor, size: tl.constexpr, rows: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Where a tile lies, by its number: none reaches over the end of a mini-batch.

    Returns:
        Its first token, the place of that in its mini-batch, how many tokens the tile has, and
        whether its mini-batch is complete.
    """
    if size <= rows:
        count = tl.minimum(size, tokens - tile)
        return tile, 0, count, count == size
    tiles: tl.constexpr = tl.cdiv(size, rows)
    start = tile // tiles * size
    position = tile % tiles * rows
    left = tl.minimum(size, tokens - start) - position
    return start + position, position, tl.minimum(rows, left), start + size <= tokens


@triton.jit
def load_tile(
    pointer: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    row_stride: tl.tensor,
    row_count: tl.tensor,
    column_count: tl.constexpr,
) -> tl.tensor:
    """Load (rows, columns) of a matrix with unit column stride, zeros beyond the counts.

    Args:
        pointer: of element (0, 0); what is 64 bits wide belongs here.
        rows: indices, (M,).
        columns: indices, (D,).
        row_stride: in elements.
        row_count: rows from here on are zeros.
        column_count: constexpr; columns from here on are zeros.
    """
    at = rows[:, None] * row_stride + columns[None, :]
    return tl.load(pointer + at, mask=_inside(rows, columns, row_count, column_count), other=0.0)


@triton.jit
def store_tile(
    pointer: tl.tensor,
    tile: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    row_stride: tl.tensor,
    row_count: tl.tensor,
    column_count: tl.constexpr,
) -> None:
    """Store what `load_tile` would load, in the dtype of the pointer."""
    at = rows[:, None] * row_stride + columns[None, :]
    inside = _inside(rows, columns, row_count, column_count)
    tl.store(pointer + at, tile.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _inside(
    rows: tl.tensor, columns: tl.tensor, row_count: tl.tensor, column_count: tl.constexpr
) -> tl.tensor:
    return (rows[:, None] < row_count) & (columns[None, :] < column_count)


@triton.jit
def load_state(pointer: tl.tensor, indices: tl.tensor, dim: tl.constexpr) -> tl.tensor:
    """Load a (D, D) matrix of float32, zeros beyond `dim`."""
    return load_tile(pointer, indices, indices, dim, dim, dim)


@triton.jit
def load_model(
    state: State, number: tl.tensor, indices: tl.tensor, dim: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Load one inner model of a state, (D, D) and (D,), by its number in the order of memory."""
    W = load_state(state.weight + number * dim * dim, indices, dim)
    return W, load_features(state.bias + number * dim, indices, dim)


@triton.jit
def store_model(
    state: State,
    number: tl.tensor,
    W: tl.tensor,
    b: tl.tensor,
    indices: tl.tensor,
    dim: tl.constexpr,
) -> None:
    """Store what `load_model` would load."""
    store_tile(state.weight + number * dim * dim, W, indices, indices, dim, dim, dim)
    store_features(state.bias + number * dim, b, indices, dim)


@triton.jit
def load_features(pointer: tl.tensor, indices: tl.tensor, dim: tl.constexpr) -> tl.tensor:
    """Load a vector of `dim` features as float32, zeros beyond."""
    return tl.load(pointer + indices, mask=indices < dim, other=0.0).to(tl.float32)


@triton.jit
def store_features(
    pointer: tl.tensor, vector: tl.tensor, indices: tl.tensor, dim: tl.constexpr
) -> None:
    """Store what `load_features` would load, in the dtype of the pointer."""
    tl.store(pointer + indices, vector.to(pointer.dtype.element_ty), mask=indices < dim)


@triton.jit
def load_norm(
    tensors: Inputs | Gradients, number: tl.tensor, indices: tl.tensor, dim: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Load weight and bias of a layer norm, or gradients of them, (D,), by number in memory."""
    weight = load_features(tensors.ln_w + number * dim, indices, dim)
    return weight, load_features(tensors.ln_b + number * dim, indices, dim)


@triton.jit
def store_norm(
    tensors: Gradients,
    number: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    indices: tl.tensor,
    dim: tl.constexpr,
) -> None:
    """Store what `load_norm` would load."""
    store_features(tensors.ln_w + number * dim, weight, indices, dim)
    store_features(tensors.ln_b + number * dim, bias, indices, dim)


@triton.jit
def add_in_place(pointer: tl.tensor, value: tl.tensor, mask: tl.tensor | None = None) -> None:
    """Add to what is in memory, where warps may hold copies of the same."""
    value += tl.load(pointer, mask=mask)
    tl.debug_barrier()  # all warps have read what is replaced
    tl.store(pointer, value, mask=mask)


@triton.jit
def without_padding(tile: tl.tensor, columns: tl.tensor, dim: tl.constexpr) -> tl.tensor:
    """Set padded features to zero; nothing to do if there are none."""
    return tile if dim == tile.shape[1] else tl.where(columns[None, :] < dim, tile, 0.0)


@triton.jit
def row_mean(tile: tl.tensor, dim: tl.constexpr) -> tl.tensor:
    """Mean over the features of each row, (M,): padded features are zeros, so the sum is right."""
    return tl.sum(tile, 1) / dim


@triton.jit
def load_centered(
    start: Start, program: tl.tensor, indices: tl.tensor, dim: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Load where a program starts, without the mean over outputs that its first state has.

    The layer norm behind it does not see that mean, and but for rounding no update changes it: the
    gradient of a layer norm has no mean itself. Off once, every z = k W + b has none, and two sums
    over features fall out of each mini-batch.

    A rounded update has a mean, and many have one that is not small against a small first state.
    So each launch takes the same mean off, and the backward pass meets the numbers of the forward.
    """
    W, b = load_model(start.state, program % start.count, indices, dim)
    W0, b0 = load_model(start.first, program % start.first_count, indices, dim)
    inside = indices < dim
    W = tl.where(inside[None, :], W - row_mean(W0, dim)[:, None], 0.0)
    return W, tl.where(inside, b - tl.sum(b0, 0) / dim, 0.0)


@triton.jit
def store_centered(
    end: State,
    program: tl.tensor,
    W: tl.tensor,
    b: tl.tensor,
    start: Start,
    indices: tl.tensor,
    dim: tl.constexpr,
) -> None:
    """Store where a program ends, with the mean that `load_centered` took off."""
    W0, b0 = load_model(start.first, program % start.first_count, indices, dim)
    W, b = W + row_mean(W0, dim)[:, None], b + tl.sum(b0, 0) / dim
    store_model(end, program, W, b, indices, dim)


@triton.jit
def lower_triangle(matrix: tl.tensor) -> tl.tensor:
    """Set to zero what is above the diagonal, (M, M)."""
    rows = tl.arange(0, matrix.shape[0])
    return tl.where(rows[:, None] >= rows[None, :], matrix, 0.0)


@triton.jit
def masked_rates(token_eta: tl.tensor, lr: tl.tensor) -> tl.tensor:
    """Eta of the dual form: token_eta_i * lr_j for j <= i, else 0, (M, M)."""
    return lower_triangle(token_eta[:, None] * lr[None, :])


@triton.jit
def sum_of_two(a0: tl.tensor, b0: tl.tensor, a1: tl.tensor, b1: tl.tensor) -> tuple[tl.tensor, ...]:
    """Combine function of `tl.reduce` for two sums that share one exchange between warps."""
    return a0 + a1, b0 + b1


@triton.jit
def sum_of_three(
    a0: tl.tensor, b0: tl.tensor, c0: tl.tensor, a1: tl.tensor, b1: tl.tensor, c1: tl.tensor
) -> tuple[tl.tensor, ...]:
    """As `sum_of_two`."""
    return a0 + a1, b0 + b1, c0 + c1


@triton.jit
def sum_of_five(
    a0: tl.tensor,
    b0: tl.tensor,
    c0: tl.tensor,
    d0: tl.tensor,
    e0: tl.tensor,
    a1: tl.tensor,
    b1: tl.tensor,
    c1: tl.tensor,
    d1: tl.tensor,
    e1: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """As `sum_of_two`."""
    return a0 + a1, b0 + b1, c0 + c1, d0 + d1, e0 + e1
