"""What can be said of a corpus without a model."""

import numpy as np


def unigram_entropy(tokens: np.ndarray) -> float:
    """Return the entropy of the token frequencies, in nats per token.

    It is the loss of the best model that ignores the context: a loss below it shows that something
    beyond frequencies was learned. 0 for an empty stream.
    """
    counts = np.bincount(tokens.astype(np.int64)) if len(tokens) else np.zeros(0)
    shares = counts[counts > 0] / max(1, len(tokens))
    return max(0.0, -float((shares * np.log(shares)).sum()))
