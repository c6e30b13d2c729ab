"""Corpus statistics."""

import math

import numpy as np
import pytest

from ttt_data.stats import unigram_entropy


@pytest.mark.parametrize(
    ("tokens", "nats"),
    [([], 0.0), ([5, 5, 5], 0.0), ([0, 1, 2, 3], math.log(4)), ([0, 0, 1, 7], 1.5 * math.log(2))],
)
def test_unigram_entropy(tokens: list[int], nats: float) -> None:
    assert unigram_entropy(np.array(tokens, dtype=np.uint16)) == pytest.approx(nats)
