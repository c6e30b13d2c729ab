"""GELU and its derivatives as the kernels compute them, against float64 autograd."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from ttt_kernels.gpu.activation import gelu, gelu_derivative, gelu_second_derivative
from ttt_kernels.verify import hardened, poisoned, simulated

COUNT = 256
MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "interpreted": hardened,
    "compiled": simulated,
}


@triton.jit
def all_three(
    x: tl.tensor, value: tl.tensor, first: tl.tensor, second: tl.tensor, N: tl.constexpr
) -> None:
    at = tl.arange(0, N)
    inputs = tl.load(x + at)
    tl.store(value + at, gelu(inputs))
    tl.store(first + at, gelu_derivative(inputs))
    tl.store(second + at, gelu_second_derivative(inputs))


def computed(x: Tensor) -> list[Tensor]:
    results = [torch.empty_like(x) for _ in range(3)]
    all_three[(1,)](x, *results, N=COUNT, num_warps=4)
    return results


def expected(x: Tensor) -> list[Tensor]:
    x = x.double().requires_grad_()
    value = functional.gelu(x, approximate="tanh")
    [first] = torch.autograd.grad(value.sum(), x, create_graph=True)
    [second] = torch.autograd.grad(first.sum(), x)
    return [value.detach(), first.detach(), second]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_value_and_derivatives_are_those_of_autograd(
    mode: Callable[[], AbstractContextManager[Any]],
) -> None:
    x = torch.linspace(-14.0, 14.0, COUNT)
    with mode(), poisoned():
        found = computed(x)
    for ours, theirs in zip(found, expected(x), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_far_from_zero_nothing_overflows(
    mode: Callable[[], AbstractContextManager[Any]],
) -> None:
    far = torch.logspace(0.5, 38.5, COUNT // 2)
    x = torch.cat([far, -far])
    with mode(), poisoned():
        found = computed(x)
    for ours, theirs in zip(found, expected(x), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_nan_comes_out_at_the_other_end(
    mode: Callable[[], AbstractContextManager[Any]],
) -> None:
    with mode(), poisoned():
        found = computed(torch.full((COUNT,), torch.nan))
    assert all(bool(each.isnan().all()) for each in found)
