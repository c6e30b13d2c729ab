"""Products of panels, by every tile that some processor uses."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
import pytest

from ttt_kernels.cpu import products
from ttt_kernels.cpu.vector import VECTOR_BYTES

LANES = VECTOR_BYTES // 4


def panels_of(matrix: np.ndarray) -> np.ndarray:
    """(any, n V) to (n, any, V)."""
    return matrix.reshape(len(matrix), -1, LANES).swapaxes(0, 1).copy()


@pytest.fixture(scope="module")
def multiply() -> Callable[..., None]:
    @numba.njit
    def call(flipped: Any, out: Any, a: Any, b: Any, inner: Any, fresh: Any) -> None:
        steps = out[0].size, a[0].size, b[0].size
        panels, rows = out.shape[:2]
        products.multiply(
            *(out, steps[0], a, steps[1], flipped, b, steps[2], panels, rows, inner, fresh)
        )

    return call


@pytest.fixture(scope="module")
def multiply_two() -> Iterator[Callable[..., None]]:
    """Two panels at once, as where an FMA spreads no factor by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(products._ROWS, 2, 4)
        two = products._multiply_panels(2, flipped=False)

        @numba.njit
        def call(out: Any, a: Any, b: Any, inner: Any, fresh: Any) -> None:
            steps, rows = (out[0].size, a[0].size, b[0].size), out.shape[1]
            two(out, 0, steps[0], a, steps[1], b, 0, steps[2], rows, inner, fresh)

        zeros = np.zeros((2, 16, LANES), np.float32)
        call(zeros, zeros, zeros, 16, True)  # compiled while the tile is there
        yield call


def check(
    multiply: Callable[..., None], panels: int, rows: int, inner: int, *, flipped: bool, fresh: bool
) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner), np.float32)
    b = rng.standard_normal((inner, panels * LANES), np.float32)
    before = rng.standard_normal((rows, panels * LANES), np.float32)
    out = panels_of(before)
    multiply(out, panels_of(a.T if flipped else a), panels_of(b), inner, fresh)
    expected = a.astype(np.float64) @ b + (0 if fresh else before)
    ours = out.swapaxes(0, 1).reshape(expected.shape)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * inner**0.5)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("panels", "rows", "inner"), [(1, 64, 64), (3, 16, 32), (4, 32, 16)])
def test_products_are_those_of_float64(
    multiply: Callable[..., None], panels: int, rows: int, inner: int, flipped: bool, fresh: bool
) -> None:
    check(partial(multiply, flipped), panels, rows, inner, flipped=flipped, fresh=fresh)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("rows", "inner"), [(64, 64), (16, 32)])
def test_two_panels_at_once_are_no_other_product(
    multiply_two: Callable[..., None], rows: int, inner: int, fresh: bool
) -> None:
    check(multiply_two, 2, rows, inner, flipped=False, fresh=fresh)
