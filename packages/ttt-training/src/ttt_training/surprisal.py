"""How much each token of a text surprises a model, and means of that with their errors."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ttt_config.train import Dtype
from ttt_data import Batch
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_layer import TTTModel
from ttt_training.device import autocast, device_of
from ttt_training.loss import token_losses
from ttt_training.modes import eval_mode


class Surprisal(NamedTuple):
    """What a model makes of some rows of text."""

    nats: NDArray[np.float64]
    """Of each target, (B, T); 0 where there is none."""
    targets: NDArray[np.int64]
    """(B, T); -100 where there is none."""

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Where there is a target, (B, T)."""
        return self.targets != IGNORED_TARGET


class Mean(NamedTuple):
    """A mean and how sure it is."""

    value: float
    error: float
    """Its standard error; NaN from a single window."""
    count: int
    """What the mean is over."""


@torch.no_grad()
def surprisals(
    model: TTTModel, batches: Iterable[Batch], *, dtype: Dtype = "f32"
) -> Iterator[Surprisal]:
    """Give the surprisal of every target, batch by batch.

    Args:
        model: on any device; it is left in the mode it was in.
        batches: the text.
        dtype: arithmetic of the model; the losses are computed in float32.
    """
    device = device_of(model)
    for batch in batches:
        if not (batch.targets != IGNORED_TARGET).any():
            continue
        targets = torch.from_numpy(batch.targets).to(device)
        with eval_mode(model), autocast(device, dtype):
            hidden, _ = model.hidden(torch.from_numpy(batch.inputs).to(device))
            nats = token_losses(hidden, model.head, targets)
        yield Surprisal(nats.double().cpu().numpy(), batch.targets)


def mean_over_windows(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> Mean:
    """Return sum / count over all windows, with the error of a ratio of sums over clusters.

        error^2 = G / (G - 1) * sum_i (sum_i - mean * count_i)^2 / (sum_i count_i)^2

    Tokens of a window depend on each other, windows hardly do, so a window is a cluster.

    Args:
        sums: of what is averaged, of each window, (G,).
        counts: of tokens (or bytes) of each window, (G,).
    """
    kept = counts > 0
    sums, counts = sums[kept], counts[kept]
    total, windows = float(counts.sum()), len(counts)
    if not windows:
        return Mean(math.nan, math.nan, 0)
    value = float(sums.sum()) / total
    error = math.nan
    if windows > 1:
        spread = float(((sums - value * counts) ** 2).sum())
        error = math.sqrt(windows / (windows - 1) * spread) / total
    return Mean(value, error, round(total))
