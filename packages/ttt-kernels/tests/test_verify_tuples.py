"""Kernels that are given tuples: named or not, one in another."""

from typing import Any, NamedTuple

import pytest
import torch
import triton
import triton.language as tl
from kernel_modes import MODES, random
from torch import Tensor

from ttt_kernels.verify import LaunchError, OutOfBoundsError, compile_kernel, simulate


class Matrix(NamedTuple):
    pointer: Any
    strides: tuple[Any, Any]


class Pair(NamedTuple):
    x: Matrix
    factor: Any


@triton.jit
def scale(pair: Pair, out: Matrix, sizes: tl.tuple, M: tl.constexpr, N: tl.constexpr) -> None:
    rows, columns = tl.arange(0, M)[:, None], tl.arange(0, N)[None, :]
    inside = (rows < sizes[0]) & (columns < sizes[1])
    strides = pair.x.strides
    x = tl.load(pair.x.pointer + rows * strides[0] + columns * strides[1], mask=inside)
    at = out.pointer + rows * out.strides[0] + columns * out.strides[1]
    tl.store(at, pair.factor * x, mask=inside)


def matrix(tensor: Tensor) -> Matrix:
    rows, columns = tensor.stride()
    return Matrix(tensor, (rows, columns))


@pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
def test_tuples_reach_a_kernel_as_they_are(mode: Any) -> None:
    x, out = random(5, 7), torch.zeros(7, 5)
    with mode():
        scale[(1,)](Pair(matrix(x), 3.0), matrix(out.T), (5, 7), M=8, N=8)
    assert torch.equal(out.T, 3 * x)


@pytest.mark.parametrize("mode", MODES.values(), ids=list(MODES))
def test_an_access_outside_is_named_by_its_place_in_the_tuple(mode: Any) -> None:
    x, out = random(5, 7), torch.zeros(8, 8)
    with mode(), pytest.raises(OutOfBoundsError, match=r"`pair\.x\.pointer`"):
        scale[(1,)](Pair(matrix(x), 3.0), matrix(out), (8, 8), M=8, N=8)


def test_what_the_compiled_kernel_takes_has_names() -> None:
    x, out = random(5, 7), torch.zeros(5, 7)
    arguments = (Pair(matrix(x), 3.0), matrix(out), (5, 7))
    compiled = compile_kernel(scale, *arguments, M=8, N=8)
    assert compiled.parameters == (  # a stride of 1 is a constant
        *("pair.x.pointer", "pair.x.strides[0]", "pair.factor"),
        *("out.pointer", "out.strides[0]", "sizes[0]", "sizes[1]"),
    )
    simulate(compiled, (1,), *arguments)
    assert torch.equal(out, 3 * x)
    with pytest.raises(LaunchError, match=r"no `sizes\[0\]`"):
        simulate(compiled, (1,), *arguments[:2])
