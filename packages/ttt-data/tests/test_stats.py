"""Corpus statistics."""

import math

import numpy as np
import pytest

from ttt_data import stats
from ttt_data.stats import entropy, token_counts
from ttt_data.store import split


@pytest.mark.parametrize(
    ("tokens", "nats"),
    [([], 0.0), ([5, 5, 5], 0.0), ([0, 1, 2, 3], math.log(4)), ([0, 0, 1, 7], 1.5 * math.log(2))],
)
def test_entropy_of_the_frequencies(tokens: list[int], nats: float) -> None:
    counts = token_counts(np.array(tokens, dtype=np.uint16))
    assert entropy(counts / max(1, len(tokens))) == pytest.approx(nats)


def test_the_tokens_of_a_split_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 50, 999).astype(np.uint16)
    expected = np.bincount(tokens)
    monkeypatch.setattr(split, "CHUNK_TOKENS", 100)
    monkeypatch.setattr(stats, "CHUNK_TOKENS", 7)
    assert np.array_equal(token_counts(tokens), expected)
    shards = [tokens[:400], tokens[400:]]
    sharded = split.ShardedSplit(shards, read_bounds=lambda: np.array([0, 999]))
    assert np.array_equal(token_counts(sharded), expected)
