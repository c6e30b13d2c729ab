"""The training objective: next-token cross-entropy."""

import torch.nn.functional as F  # noqa: N812 - the name every torch reader expects
from torch import Tensor

from ttt_data.loading.batch import IGNORED_TARGET


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Average the next-token loss over the tokens of a batch, in nats.

    It is a mean over tokens, not a mean of per-sequence means, so that no token counts more
    for standing in a short sequence.

    Args:
        logits: scores before the softmax, (B, T, V), any float dtype; computed in float32.
        targets: the token that follows each position, (B, T), int64; -100 leaves it out.

    Returns:
        The mean, a float32 scalar; NaN if every target is left out.
    """
    return F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED_TARGET
    )
