"""The keyed permutation is a bijection, and a good shuffle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_data.permutation import permute


@settings(max_examples=150)
@given(size=st.integers(1, 5000), seed=st.integers(0, 2**64), epoch=st.integers(0, 1000))
def test_it_is_a_bijection(size: int, seed: int, epoch: int) -> None:
    values = permute(np.arange(size), size, seed=seed, epoch=epoch)
    assert values.dtype == np.int64
    assert np.array_equal(np.sort(values), np.arange(size))


@given(
    size=st.integers(2**40, 2**62),
    indices=st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=50, unique=True),
)
def test_large_domains_do_not_collide(size: int, indices: list[int]) -> None:
    values = permute(np.array(indices), size, seed=1, epoch=2)
    assert len(set(values.tolist())) == len(indices)
    assert 0 <= values.min() <= values.max() < size


def test_an_index_goes_to_the_same_place_alone_and_among_others() -> None:
    together = permute(np.arange(24).reshape(2, 3, 4), 1000, seed=5, epoch=6)
    assert together.shape == (2, 3, 4)
    for index in range(24):
        assert int(permute(index, 1000, seed=5, epoch=6)) == together.flat[index]


def test_the_order_never_changes() -> None:
    assert permute(np.arange(8), 8, seed=0, epoch=0).tolist() == [2, 5, 7, 3, 1, 4, 0, 6]
    assert permute(np.array([0, 1, 10**9 - 1]), 10**9, seed=7, epoch=3).tolist() == [
        39709400,
        562113447,
        946924578,
    ]


def test_seeds_and_epochs_have_different_orders_unlike_the_plain_one() -> None:
    size = 20_000
    orders = [np.arange(size)]
    orders += [
        permute(np.arange(size), size, seed=seed, epoch=epoch)
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    correlations = np.abs(np.corrcoef(np.array(orders)))
    assert correlations[~np.eye(len(orders), dtype=bool)].max() < 0.04


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (0, 2**62 + 1)])
def test_what_is_outside_the_domain_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"size must be|is outside"):
        permute(index, size, seed=0, epoch=0)
