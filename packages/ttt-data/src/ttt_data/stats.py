"""What can be said of a corpus without a model."""

from collections.abc import Iterable

import numpy as np

from ttt_data.store.split import CHUNK_TOKENS, TokenSplit, iterate_chunks


def token_counts(tokens: np.ndarray | TokenSplit) -> np.ndarray:
    """Count how often each id occurs, (largest id + 1,), int64."""
    counts = np.zeros(0, dtype=np.int64)
    for chunk in _chunks(tokens):
        more = np.bincount(chunk, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


def entropy(shares: np.ndarray) -> float:
    """Return the entropy of token frequencies that sum to 1, in nats per token.

    It is the loss of the best model that ignores the context: a loss below it shows that something
    beyond frequencies was learned. 0 where there is no token.
    """
    present = shares[shares > 0]
    return max(0.0, -float((present * np.log(present)).sum()))


def _chunks(tokens: np.ndarray | TokenSplit) -> Iterable[np.ndarray]:
    if not isinstance(tokens, np.ndarray):
        return iterate_chunks(tokens)
    starts = range(0, len(tokens), CHUNK_TOKENS)
    return (tokens[start : start + CHUNK_TOKENS] for start in starts)
