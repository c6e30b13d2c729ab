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
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_layer import TTTModel, record_inner_traces
from ttt_training.device import autocast, device_of
from ttt_training.loss import cross_entropy
from ttt_training.modes import eval_mode


class Evaluation(NamedTuple):
    """How well a model predicts a text."""

    loss: float
    """Nats a token, mean over all tokens."""
    perplexity: float
    """exp(loss)."""
    bits_per_byte: float
    """Comparable between tokenizers; infinite if the tokens stand for no bytes."""
    tokens: int
    """Tokens that were predicted."""


class InnerLoss(NamedTuple):
    """Reconstruction loss of the inner models, mean over layers, sequences, mini-batches, heads."""

    before: float
    """Of each mini-batch under the fast weights it met."""
    after: float
    """Of the same under the fast weights that have learned from it."""


@torch.no_grad()
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
    device = device_of(model)
    nats = torch.zeros((), dtype=torch.float64, device=device)
    tokens = text_bytes = 0
    with eval_mode(model):
        for batch in batches:
            predicted = batch.targets[batch.targets != IGNORED_TARGET]
            if not len(predicted):
                continue  # its mean would be NaN
            inputs = torch.from_numpy(batch.inputs).to(device)
            targets = torch.from_numpy(batch.targets).to(device)
            with autocast(device, dtype):
                logits = model(inputs)
            nats += cross_entropy(logits, targets) * len(predicted)
            tokens += len(predicted)
            text_bytes += int(byte_lengths[predicted].sum())
    if not tokens:
        raise DataError("nothing to evaluate: the batches hold no token to predict")
    loss = nats / tokens
    bits = nats.item() / math.log(2)
    return Evaluation(
        loss=loss.item(),
        perplexity=loss.exp().item(),
        bits_per_byte=bits / text_bytes if text_bytes else math.inf,
        tokens=tokens,
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
    with eval_mode(model), record_inner_traces(model) as traces:
        model(input_ids)
    before = torch.stack([trace.loss_before.mean() for trace in traces.values()]).mean()
    after = torch.stack([trace.loss_after.mean() for trace in traces.values()]).mean()
    return InnerLoss(before.item(), after.item()) if before.isfinite() else None
