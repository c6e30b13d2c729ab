"""What a run is worth on a text: its loss, where it falls, and what learning at test time wins."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ttt_config import InvalidValueError, RunConfig
from ttt_config.train import Dtype
from ttt_data import Tokenizer
from ttt_data.readers import Split
from ttt_layer import TTTModel, scaled_inner_lr
from ttt_training.checkpoint_files import step_of
from ttt_training.data import first_windows, load_split
from ttt_training.evaluation import Evaluation, summarize
from ttt_training.surprisal import Mean, Surprisal, mean_over_windows, surprisals
from ttt_training.token_classes import class_losses

_NORMAL_95 = 1.96
"""Standard errors on either side of a mean that cover 95 of 100 cases."""


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """Nats a token that inner learning wins: the loss without it, less the loss with it."""

    value: float
    low: float
    """Of the 95 % interval, from the differences window by window."""
    high: float


class PositionLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Targets that have from `start` up to `stop` tokens before them in their window."""

    start: int
    stop: int
    """Excluded."""
    tokens: int
    loss: float
    loss_error: float
    gain: Gain | None


class ClassLoss(msgspec.Struct, frozen=True, kw_only=True):
    """Targets of one kind in the held-out chronicles."""

    name: str
    tokens: int
    loss: float
    loss_error: float
    gain: Gain | None


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `ttt eval` says; errors are standard errors over windows."""

    run: str
    checkpoint: str
    step: int
    source: str
    split: Split
    seq_len: int
    trained_seq_len: int
    documents: int
    """Of the whole split."""
    windows: int
    tokens: int
    loss: float
    """Nats a token."""
    loss_error: float
    perplexity: float
    perplexity_error: float
    bits_per_byte: float
    bits_per_byte_error: float
    gain: Gain | None
    """None if it was not asked for."""
    by_position: list[PositionLoss]
    by_class: list[ClassLoss]
    """Empty unless the text is `chronicles`."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to evaluate on, and how."""

    split: Split = "val"
    samples: int | None = None
    """Windows, the first of the text; None for all."""
    dtype: Dtype = "f32"
    gain: bool = True
    """Measure the model a second time, without inner learning."""


def report_run(
    model: TTTModel,
    tokenizer: Tokenizer,
    config: RunConfig,
    *,
    checkpoint: Path,
    trained_seq_len: int,
    wanted: Wanted,
) -> EvaluationReport:
    """Evaluate a model. Two calls give the same figures.

    Args:
        model: on any device.
        tokenizer: the run's.
        config: of the run, with the data, `model.max_seq_len` and `train.batch_size` to evaluate
            with; it may read longer windows than it was trained on.
        checkpoint: that the model is from.
        trained_seq_len: of the run.
        wanted: of the text.

    Raises:
        DataError: there is no such text, or too little for one window.
        InvalidValueError: `samples` is not positive.
    """
    if wanted.samples is not None and wanted.samples < 1:
        raise InvalidValueError(f"samples is {wanted.samples}, expected 1 or more")
    loader, documents = load_split(config, tokenizer, wanted.split)
    learning = list(surprisals(model, first_windows(loader, wanted.samples), dtype=wanted.dtype))
    frozen: list[Surprisal] | None = None
    if wanted.gain:
        with scaled_inner_lr(model, 0.0):
            frozen = list(
                surprisals(model, first_windows(loader, wanted.samples), dtype=wanted.dtype)
            )
    whole: Evaluation = summarize(learning, tokenizer.byte_lengths())
    return EvaluationReport(
        run=str(checkpoint.parent.parent),
        checkpoint=checkpoint.name,
        step=step_of(checkpoint) or 0,
        source=config.data.source,
        split=wanted.split,
        seq_len=loader.seq_len,
        trained_seq_len=trained_seq_len,
        documents=documents,
        windows=whole.windows,
        tokens=whole.tokens,
        loss=whole.loss,
        loss_error=whole.loss_error,
        perplexity=whole.perplexity,
        perplexity_error=whole.perplexity_error,
        bits_per_byte=whole.bits_per_byte,
        bits_per_byte_error=whole.bits_per_byte_error,
        gain=gain_of(learning, frozen),
        by_position=list(by_position(learning, frozen, loader.seq_len)),
        by_class=_by_class(model, tokenizer, config, wanted),
    )


def by_position(
    learning: list[Surprisal], frozen: list[Surprisal] | None, seq_len: int
) -> Iterator[PositionLoss]:
    """Yield the loss in buckets that double: 0, 1, 2 to 3, 4 to 7, ... tokens of context."""
    start = 0
    while start < seq_len:
        stop = min(max(1, 2 * start), seq_len)
        part = slice(start, stop)
        mean = _mean_within(learning, part)
        yield PositionLoss(
            start=start,
            stop=stop,
            tokens=mean.count,
            loss=mean.value,
            loss_error=mean.error,
            gain=gain_of(learning, frozen, part),
        )
        start = stop


def gain_of(
    learning: list[Surprisal], frozen: list[Surprisal] | None, part: slice = slice(None)
) -> Gain | None:
    """Return what inner learning wins on the positions of a part of each window."""
    if frozen is None:
        return None
    sums = [
        (without.nats - with_.nats)[:, part].sum(axis=1)
        for with_, without in zip(learning, frozen, strict=True)
    ]
    return interval(mean_over_windows(np.concatenate(sums), _counts(learning, part)))


def interval(difference: Mean) -> Gain:
    """Put a mean difference and its 95 % interval together."""
    reach = _NORMAL_95 * difference.error
    return Gain(value=difference.value, low=difference.value - reach, high=difference.value + reach)


def _mean_within(found: list[Surprisal], part: slice) -> Mean:
    sums = np.concatenate([each.nats[:, part].sum(axis=1) for each in found])
    return mean_over_windows(sums, _counts(found, part))


def _counts(found: list[Surprisal], part: slice) -> NDArray[np.int64]:
    return np.concatenate([each.counted[:, part].sum(axis=1) for each in found])


def _by_class(
    model: TTTModel, tokenizer: Tokenizer, config: RunConfig, wanted: Wanted
) -> list[ClassLoss]:
    if config.data.source != "chronicles":
        return []
    found = class_losses(model, tokenizer, config, wanted.split, wanted.dtype)
    without: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
    if wanted.gain:
        with scaled_inner_lr(model, 0.0):
            without = class_losses(model, tokenizer, config, wanted.split, wanted.dtype)
    rows: list[ClassLoss] = []
    for name, (sums, counts) in found.items():
        mean = mean_over_windows(sums, counts)
        gain = None
        if wanted.gain:
            gain = interval(mean_over_windows(without[name][0] - sums, counts))
        rows.append(
            ClassLoss(
                name=name, tokens=mean.count, loss=mean.value, loss_error=mean.error, gain=gain
            )
        )
    return rows
