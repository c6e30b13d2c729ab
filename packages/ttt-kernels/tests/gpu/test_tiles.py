"""Each helper of the kernels alone, in a kernel of a few lines, against torch."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from kernel_modes import MODES, padded, random

from ttt_kernels.gpu import tiles
from ttt_kernels.gpu.arguments import Gradients, Inputs, Start, State, Strided
from ttt_kernels.verify import OutOfBoundsError, poisoned


@pytest.fixture(params=MODES.values(), ids=list(MODES))
def mode(request: pytest.FixtureRequest) -> AbstractContextManager[Any]:
    return request.param()


@triton.jit
def copy_padded(
    source: tl.tensor,
    padded_copy: tl.tensor,
    target: tl.tensor,
    stride: tl.tensor,
    count: tl.tensor,
    D: tl.constexpr,
    M_PAD: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    rows, columns = tl.arange(0, M_PAD), tl.arange(0, D_PAD)
    tile = tiles.load_tile(source, rows, columns, stride, count, D)
    tl.store(padded_copy + rows[:, None] * D_PAD + columns[None, :], tile)
    tiles.store_tile(target, tile, rows, columns, D, count, D)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tile_is_loaded_with_zeros_around_and_stored_without(
    mode: AbstractContextManager[Any], dtype: torch.dtype
) -> None:
    around = torch.full((11, 14), torch.nan)  # to be read nowhere but inside
    around[:5, :12] = random(5, 12)
    source = around.to(dtype)
    target = torch.full((8, 12), 7.0, dtype=torch.float16)
    with mode, poisoned():
        copy = torch.empty(8, 16)
        copy_padded[(1,)](source, copy, target, 14, 5, D=12, M_PAD=8, D_PAD=16)
    inside = source[:5, :12]
    assert torch.equal(copy, torch.nn.functional.pad(inside.float(), (0, 4, 0, 3)))
    assert torch.equal(target[:5], inside.half())  # in the dtype of the pointer
    assert bool((target[5:] == 7.0).all())


def test_nothing_outside_of_a_tensor_is_touched(mode: AbstractContextManager[Any]) -> None:
    # the last element of the tile is the last one of the tensor, in front of the end
    source, target, copy = random(5, 12), torch.empty(5, 12), torch.empty(8, 16)
    with mode:
        copy_padded[(1,)](source, copy, target, 12, 5, D=12, M_PAD=8, D_PAD=16)
        assert torch.equal(target, source)
        with pytest.raises(OutOfBoundsError):  # and one row more would be
            copy_padded[(1,)](source, copy, target, 12, 6, D=12, M_PAD=8, D_PAD=16)


@triton.jit
def copy_vector_and_state(
    vector: tl.tensor,
    state: tl.tensor,
    padded_vector: tl.tensor,
    padded_state: tl.tensor,
    target: tl.tensor,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    columns = tl.arange(0, D_PAD)
    features = tiles.load_features(vector, columns, D)
    tl.store(padded_vector + columns, features)
    W = tiles.load_state(state, columns, D)
    tl.store(padded_state + columns[:, None] * D_PAD + columns[None, :], W)
    tiles.store_features(target, features, columns, D)


def test_features_and_states_are_loaded_with_zeros_around(
    mode: AbstractContextManager[Any],
) -> None:
    vector, state = random(12).bfloat16(), random(12, 12)
    with mode, poisoned():
        target = torch.empty(12, dtype=torch.bfloat16)
        features, matrix = torch.empty(16), torch.empty(16, 16)
        copy_vector_and_state[(1,)](vector, state, features, matrix, target, D=12, D_PAD=16)
    assert torch.equal(features, padded(vector.float(), 16))
    assert torch.equal(matrix, torch.nn.functional.pad(state, (0, 4, 0, 4)))
    assert torch.equal(target, vector)


@triton.jit
def center(start: Start, out: State, end: State, D: tl.constexpr, D_PAD: tl.constexpr) -> None:
    columns = tl.arange(0, D_PAD)
    W, b = tiles.load_centered(start, 3, columns, D)
    tl.store(out.weight + columns[:, None] * D_PAD + columns[None, :], W)
    tl.store(out.bias + columns, b)
    tiles.store_centered(end, 1, W, b, start, columns, D)


@pytest.mark.parametrize("shared", [False, True])
def test_a_state_loses_the_mean_of_the_first_one_and_gets_it_back(
    mode: AbstractContextManager[Any], shared: bool
) -> None:
    first = State(random(2, 12, 12), random(2, 12, seed=1))  # of two heads
    later = State(random(4, 12, 12, seed=2), random(4, 12, seed=3))  # of two sequences
    start = Start(first, 2, first, 2) if shared else Start(later, 4, first, 2)
    weight, bias = first.weight[1].clone(), first.bias[1].clone()
    if not shared:
        weight, bias = later.weight[3].clone(), later.bias[3].clone()
    with mode, poisoned():
        out = State(torch.empty(16, 16), torch.empty(16))
        end = State(torch.full((2, 12, 12), 7.0), torch.full((2, 12), 7.0))
        center[(1,)](start, out, end, D=12, D_PAD=16)
    without = weight - first.weight[1].mean(1, keepdim=True)
    torch.testing.assert_close(out.weight, torch.nn.functional.pad(without, (0, 4, 0, 4)))
    torch.testing.assert_close(out.bias, padded(bias - first.bias[1].mean(), 16))
    torch.testing.assert_close((end.weight[1], end.bias[1]), (weight, bias))
    assert bool((end.weight[0] == 7.0).all() & (end.bias[0] == 7.0).all())


@triton.jit
def change_norm(inputs: Inputs, gradients: Gradients, D: tl.constexpr, D_PAD: tl.constexpr) -> None:
    columns = tl.arange(0, D_PAD)
    weight, bias = tiles.load_norm(inputs, 1, columns, D)
    tiles.store_norm(gradients, 1, 2.0 * weight, 3.0 * bias, columns, D)
    tiles.add_in_place(gradients.token_eta + columns, 1.0 + columns, columns < 12)


def test_a_layer_norm_is_found_by_its_number_and_added_to_in_place(
    mode: AbstractContextManager[Any],
) -> None:
    weight, bias = random(3, 12), random(3, 12, seed=1)
    d_weight, d_bias, sums = torch.zeros(3, 12), torch.zeros(3, 12), random(16, seed=2)
    expected = sums + torch.where(torch.arange(16) < 12, torch.arange(1, 17), 0)
    unused = torch.empty(1)
    tokens = Strided(unused, 1, 1, 1)
    inputs = Inputs(tokens, tokens, tokens, unused, weight, bias)
    state = State(unused, unused)
    gradients = Gradients(unused, unused, unused, unused, sums, d_weight, d_bias, state)
    with mode, poisoned():
        change_norm[(1,)](inputs, gradients, D=12, D_PAD=16)
    assert torch.equal(d_weight[1], 2 * weight[1])
    assert torch.equal(d_bias[1], 3 * bias[1])
    assert not d_weight[[0, 2]].any()
    assert not d_bias[[0, 2]].any()
    assert torch.equal(sums, expected)


@triton.jit
def rates_and_padding(
    token_eta: tl.tensor,
    lr: tl.tensor,
    tile: tl.tensor,
    eta: tl.tensor,
    cleaned: tl.tensor,
    M: tl.constexpr,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
) -> None:
    rows, columns = tl.arange(0, M), tl.arange(0, D_PAD)
    rates = tiles.masked_rates(tl.load(token_eta + rows), tl.load(lr + rows))
    tl.store(eta + rows[:, None] * M + rows[None, :], rates)
    at = rows[:, None] * D_PAD + columns[None, :]
    tl.store(cleaned + at, tiles.without_padding(tl.load(tile + at), columns, D))


@pytest.mark.parametrize("dim", [16, 12])
def test_rates_are_causal_and_padding_is_cleared(
    mode: AbstractContextManager[Any], dim: int
) -> None:
    token_eta, lr, tile = random(8), random(8, seed=1), random(8, 16, seed=2)
    tile[:, dim:] = torch.nan
    with mode, poisoned():
        eta, cleaned = torch.empty(8, 8), torch.empty(8, 16)
        rates_and_padding[(1,)](token_eta, lr, tile, eta, cleaned, M=8, D=dim, D_PAD=16)
    assert torch.equal(eta, (token_eta[:, None] * lr[None, :]).tril())
    assert torch.equal(cleaned, padded(tile[:, :dim], 16))


@triton.jit
def sum_up(
    tile: tl.tensor, out: tl.tensor, AXIS: tl.constexpr, M: tl.constexpr, D: tl.constexpr
) -> None:
    rows, columns = tl.arange(0, M), tl.arange(0, D)
    x = tl.load(tile + rows[:, None] * D + columns[None, :])
    along = columns if AXIS == 0 else rows
    N: tl.constexpr = D if AXIS == 0 else M
    two = tl.reduce((x, 2.0 * x), AXIS, tiles.sum_of_two)
    three = tl.reduce((3.0 * x, 4.0 * x, 5.0 * x), AXIS, tiles.sum_of_three)
    five = tl.reduce((6.0 * x, 7.0 * x, 8.0 * x, 9.0 * x, 10.0 * x), AXIS, tiles.sum_of_five)
    for i in tl.static_range(2):
        tl.store(out + i * N + along, two[i])
    for i in tl.static_range(3):
        tl.store(out + (2 + i) * N + along, three[i])
    for i in tl.static_range(5):
        tl.store(out + (5 + i) * N + along, five[i])


@pytest.mark.parametrize("axis", [0, 1])
def test_several_sums_in_one_reduction_are_the_sums(
    mode: AbstractContextManager[Any], axis: int
) -> None:
    tile = random(8, 32)
    sums = tile.sum(axis)
    with mode, poisoned():
        out = torch.empty(10, len(sums))
        sum_up[(1,)](tile, out, AXIS=axis, M=8, D=32, enable_fp_fusion=False)
    expected = torch.arange(1, 11)[:, None] * sums
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
