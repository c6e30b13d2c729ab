"""What can be said of a corpus without a model."""

from collections.abc import Iterable

import numpy as np

from ttt_data.store.split import CHUNK_TOKENS, TokenSplit, iterate_chunks


def unigram_entropy(tokens: np.ndarray | TokenSplit) -> float:
    """Return the entropy of the token frequencies, in nats per token.

    It is the loss of the best model that ignores the context: a loss below it shows that something
    beyond frequencies was learned. 0 for an empty stream.
    """
    counts = np.zeros(0, dtype=np.int64)
    for chunk in _chunks(tokens):
        more = np.bincount(chunk, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    shares = counts[counts > 0] / max(1, len(tokens))
    return max(0.0, -float((shares * np.log(shares)).sum()))


def _chunks(tokens: np.ndarray | TokenSplit) -> Iterable[np.ndarray]:
    if not isinstance(tokens, np.ndarray):
        return iterate_chunks(tokens)
    starts = range(0, len(tokens), CHUNK_TOKENS)
    return (tokens[start : start + CHUNK_TOKENS] for start in starts)
