"""Means over windows and how sure they are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_training.surprisal import mean_over_windows


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 9)), min_size=2, max_size=9))
def test_the_mean_is_over_tokens_and_scales(parts: list[tuple[float, int]]) -> None:
    sums, counts = np.array([a for a, _ in parts]), np.array([b for _, b in parts])
    mean = mean_over_windows(sums, counts)
    assert mean.value == pytest.approx(sums.sum() / counts.sum())
    assert mean.count == counts.sum()
    doubled = mean_over_windows(2 * sums, counts)
    assert doubled.error == pytest.approx(2 * mean.error, abs=1e-12)
    shifted = mean_over_windows(sums + 3 * counts, counts)
    assert shifted.error == pytest.approx(mean.error, abs=1e-9)


def test_of_equal_windows_the_error_is_that_of_their_means() -> None:
    sums = np.random.default_rng(0).normal(size=50) * 8
    mean = mean_over_windows(sums, np.full(50, 8))
    assert mean.error == pytest.approx((sums / 8).std(ddof=1) / math.sqrt(50))


def test_the_error_covers_the_truth_as_often_as_it_should() -> None:
    dice = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        counts = dice.integers(5, 30, size=60)
        shared = dice.normal(size=60)  # what makes tokens of a window alike
        sums = np.array(
            [(mood + dice.normal(size=n)).sum() for mood, n in zip(shared, counts, strict=True)]
        )
        mean = mean_over_windows(sums, counts)
        covered += abs(mean.value) < 1.96 * mean.error
    assert 360 <= covered <= 396


def test_windows_without_a_target_do_not_count() -> None:
    mean = mean_over_windows(np.array([2.0, 0.0, 4.0]), np.array([1, 0, 2]))
    assert (mean.value, mean.count) == (2.0, 3)
    assert math.isnan(mean_over_windows(np.zeros(2), np.zeros(2, dtype=np.int64)).value)
    assert math.isnan(mean_over_windows(np.ones(1), np.ones(1, dtype=np.int64)).error)
