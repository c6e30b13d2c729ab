"""Corpus statistics."""

import math

import numpy as np
import pytest

from ttt_data import stats
from ttt_data.stats import unigram_entropy
from ttt_data.store import split


@pytest.mark.parametrize(
    ("tokens", "nats"),
    [([], 0.0), ([5, 5, 5], 0.0), ([0, 1, 2, 3], math.log(4)), ([0, 0, 1, 7], 1.5 * math.log(2))],
)
def test_unigram_entropy(tokens: list[int], nats: float) -> None:
    assert unigram_entropy(np.array(tokens, dtype=np.uint16)) == pytest.approx(nats)


def test_the_tokens_of_a_split_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 50, 999).astype(np.uint16)
    expected = unigram_entropy(tokens)
    monkeypatch.setattr(split, "CHUNK_TOKENS", 100)
    monkeypatch.setattr(stats, "CHUNK_TOKENS", 7)
    assert unigram_entropy(tokens) == pytest.approx(expected)
    shards = [tokens[:400], tokens[400:]]
    assert unigram_entropy(
        split.ShardedSplit(shards, read_bounds=lambda: np.array([0, 999]))
    ) == pytest.approx(expected)
