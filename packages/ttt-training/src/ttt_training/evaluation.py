"""Measuring a model on text it was not trained on."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_config import DataError
from ttt_config.train import Dtype
from ttt_data import Batch
from ttt_layer import TTTModel, record_inner_traces
from ttt_training.modes import eval_mode, uncompiled
from ttt_training.surprisal import Surprisal, mean_over_windows, surprisals


class Evaluation(NamedTuple):
    """How well a model predicts a text; errors are standard errors over windows."""

    loss: float
    """Nats a token, mean over all tokens."""
    loss_error: float
    perplexity: float
    """exp(loss)."""
    perplexity_error: float
    bits_per_byte: float
    """Comparable between tokenizers; infinite if the tokens stand for no bytes."""
    bits_per_byte_error: float
    tokens: int
    """Tokens that were predicted."""
    windows: int


class InnerLoss(NamedTuple):
    """Reconstruction loss of the inner models, mean over layers, sequences, mini-batches, heads."""

    before: float
    """Of each mini-batch under the fast weights it met."""
    after: float
    """Of the same under the fast weights that have learned from it."""


def evaluate(
    model: TTTModel,
    batches: Iterable[Batch],
    *,
    byte_lengths: NDArray[np.integer],
    dtype: Dtype = "f32",
) -> Evaluation:
    """Measure the mean next-token loss over some batches.

    Every token counts alike, whichever batch it is in. Two calls give the same figures.

    Args:
        model: on any device; it is left in the mode it was in.
        batches: the text, for example `Loader.in_order()`.
        byte_lengths: bytes of text each token stands for, (V,) (`Tokenizer.byte_lengths`).
        dtype: arithmetic of the model.

    Raises:
        DataError: the batches hold no target.
    """
    return summarize(surprisals(model, batches, dtype=dtype), byte_lengths)


def summarize(found: Iterable[Surprisal], byte_lengths: NDArray[np.integer]) -> Evaluation:
    """Put surprisals into figures.

    Args:
        found: of all windows.
        byte_lengths: bytes of text each token stands for, (V,).

    Raises:
        DataError: there is no target.
    """
    nats: list[NDArray[np.float64]] = []
    tokens: list[NDArray[np.int64]] = []
    text_bytes: list[NDArray[np.int64]] = []
    for part in found:
        nats.append(part.nats.sum(axis=1))
        tokens.append(part.counted.sum(axis=1))
        lengths = np.where(part.counted, byte_lengths[np.maximum(part.targets, 0)], 0)
        text_bytes.append(lengths.sum(axis=1))
    if not nats:
        raise DataError("nothing to evaluate: the batches hold no token to predict")
    sums, counts, sizes = np.concatenate(nats), np.concatenate(tokens), np.concatenate(text_bytes)
    loss = mean_over_windows(sums, counts)
    perplexity = math.exp(min(loss.value, 700.0))
    bits = mean_over_windows(sums / math.log(2), sizes)
    return Evaluation(
        loss=loss.value,
        loss_error=loss.error,
        perplexity=perplexity,
        perplexity_error=perplexity * loss.error,
        bits_per_byte=bits.value if bits.count else math.inf,
        bits_per_byte_error=bits.error,
        tokens=loss.count,
        windows=int((counts > 0).sum()),
    )


@torch.no_grad()
def measure_inner_loss(model: TTTModel, input_ids: Tensor) -> InnerLoss | None:
    """Measure how much the inner models learn while they read.

    Args:
        model: on any device; it is left in the mode it was in.
        input_ids: texts to read, (B, T), int64, on the model's device.

    Returns:
        The means, or None if T is too short for a single mini-batch.
    """
    with eval_mode(model), uncompiled(model), record_inner_traces(model) as traces:
        model(input_ids)
    before = torch.stack([trace.loss_before.mean() for trace in traces.values()]).mean()
    after = torch.stack([trace.loss_after.mean() for trace in traces.values()]).mean()
    return InnerLoss(before.item(), after.item()) if before.isfinite() else None
