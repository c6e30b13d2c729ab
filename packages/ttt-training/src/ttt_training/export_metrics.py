"""The metrics of runs as tables, a row a logged step or evaluation, for plotting."""

import csv
import glob
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

from ttt_config import CheckpointIncompleteError, ConfigError, InvalidValueError, load
from ttt_training.durable import write_durably
from ttt_training.events_file import Beginning, read_history
from ttt_training.length import tokens_per_step
from ttt_training.metrics_file import LoggedEval, LoggedStep, perplexity, read_metrics
from ttt_training.run_dir import RunDir, find_run
from ttt_training.run_info import train_bits_per_byte

Split = Literal["train", "valid"]
_Record = TypeVar("_Record", LoggedStep, LoggedEval)
_Columns = Mapping[str, Callable[[_Record, Beginning | None], float | None]]

_TRAIN: _Columns[LoggedStep] = {
    "loss": lambda record, _: record.loss,
    "perplexity": lambda record, _: perplexity(record.loss),
    "learning-rate": lambda record, _: record.lr,
    "grad-norm": lambda record, _: record.grad_norm,
    "tokens-per-s": lambda record, _: record.tokens_per_s,
    "bits-per-byte": lambda record, beginning: train_bits_per_byte(record.loss, beginning),
}
_VALID: _Columns[LoggedEval] = {
    "loss": lambda record, _: record.val_loss,
    "perplexity": lambda record, _: perplexity(record.val_loss),
    "bits-per-byte": lambda record, _: record.val_bpb,
    "inner-loss-before": lambda record, _: record.inner_loss_before,
    "inner-loss-after": lambda record, _: record.inner_loss_after,
}

METRICS = tuple(dict.fromkeys([*_TRAIN, *_VALID]))
"""Names that can be asked for; a step or an evaluation has no value for some of them."""


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into the tables."""

    metrics: tuple[str, ...] = ("loss", "perplexity")
    """Columns, in this order; of `METRICS`."""
    splits: tuple[Split, ...] = ("train", "valid")
    window: int = 1
    """Every value becomes the mean of those up to window // 2 rows before and after it."""
    target_points: int | None = None
    """Rows of a run and split at most, each then the mean of a bucket; None: all."""

    def check(self) -> None:
        """Refuse what cannot be exported.

        Raises:
            InvalidValueError: a value is out of range, or there is nothing to export.
        """
        unknown = next((name for name in self.metrics if name not in METRICS), None)
        if unknown is not None or not self.metrics:
            raise InvalidValueError(
                f"unknown metric `{unknown or ''}`; expected one or more of {', '.join(METRICS)}"
            )
        if not self.splits:
            raise InvalidValueError("neither train nor valid is to be written: nothing to do")
        if self.window < 1:
            raise InvalidValueError(f"window is {self.window}, expected 1 or more")
        if self.target_points is not None and self.target_points < 1:
            raise InvalidValueError(f"target points is {self.target_points}, expected 1 or more")


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was written."""

    split: Split
    path: str
    rows: int


class Row(NamedTuple):
    """One line of a table, without the name of its run."""

    epoch: int
    step: int
    """Number of the record in the epoch, from 1."""
    global_step: int
    """Optimizer steps taken."""
    values: tuple[float | None, ...]
    """In the order of the metrics; None: there is none, or it was not finite."""


class Runs(NamedTuple):
    """What patterns stand for."""

    paths: list[Path]
    """Run directories, sorted, each once."""
    left_out: list[str]
    """Incomplete runs and patterns without a run, a line each."""


def find_runs(patterns: Sequence[str]) -> Runs:
    """Expand patterns (`runs/*`, `**` for any depth) to the run directories among their matches.

    A pattern without a match is taken as the path it spells. A checkpoint stands for its run, a
    folder that is no run for those directly in it.

    Raises:
        CheckpointIncompleteError: there is no run at all.
    """
    paths: set[Path] = set()
    left_out: list[str] = []
    for pattern in patterns:
        matches = glob.glob(pattern, recursive=True) or [pattern]  # noqa: PTH207  (absolute ones)
        found = [_find(_absolute(path)) for path in matches if path and Path(path).is_dir()]
        if not any(found) and pattern and Path(pattern).is_dir():
            found = [_find(child) for child in _absolute(pattern).iterdir() if child.is_dir()]
        paths.update(each for each in found if isinstance(each, Path))
        left_out += [each for each in found if isinstance(each, str)]
        if not any(found):
            left_out.append(f"no run directory matches `{pattern}`")
    if not paths:
        raise CheckpointIncompleteError("; ".join(dict.fromkeys(left_out)))
    return Runs(sorted(paths), list(dict.fromkeys(left_out)))


def export_metrics(runs: Sequence[Path], output: Path, export: Export) -> list[Exported]:
    """Write the metrics of runs as CSV, `{stem}_train.{ext}` and `{stem}_valid.{ext}`.

    The columns are `experiment,epoch,step,global_step` and the metrics. `experiment` is the name
    of the directory, with as many of its parents as tell it from other runs. A file is replaced
    as a whole or not at all.

    Args:
        runs: run directories.
        output: path that the names of the files are made from.
        export: what goes into them.

    Raises:
        InvalidValueError: as `Export.check`.
        CheckpointError: the records of a run cannot be read.
        ConfigError: a file cannot be written, or the configuration of a run not be read.
    """
    export.check()
    if output.is_dir() or not output.name:
        raise ConfigError(f"cannot write `{output}`: it is a folder; expected the name of a file")
    tables: dict[Split, list[tuple[str, Row]]] = {split: [] for split in export.splits}
    for name, run in zip(experiment_names(runs), runs, strict=True):
        for split, rows in run_rows(run, export).items():
            tables[split] += [(name, row) for row in rows]
    written: list[Exported] = []
    for split, table in tables.items():
        path = output.with_name(f"{output.stem}_{split}{output.suffix}")
        _write(path, _to_csv(table, export.metrics))
        written.append(Exported(split=split, path=str(path), rows=len(table)))
    return written


def run_rows(run: Path, export: Export) -> dict[Split, list[Row]]:
    """Make the rows of one run.

    The epoch of a record is the pass over the training text that its step ended in, by the tokens
    read: exact for one text in windows side by side, close for a mixture (a mean over its texts)
    and for windows of whole documents. It is 1 if the run did not write how long its text is.
    """
    found, _ = find_run(run)
    config = load(found.config)
    beginning = read_history(found.events).beginning
    metrics = read_metrics(found.metrics)
    length = config.model.max_seq_len
    windows_per_step = tokens_per_step(config) // length
    windows_per_epoch = beginning.tokens // length if beginning else 0

    def rows(records: Sequence[_Record], columns: _Columns[_Record]) -> list[Row]:
        made: list[Row] = []
        for record in records:
            windows = record.step * windows_per_step
            epoch = 1 + max(0, windows - 1) // windows_per_epoch if windows_per_epoch else 1
            step = made[-1].step + 1 if made and made[-1].epoch == epoch else 1
            values = tuple(
                columns[name](record, beginning) if name in columns else None
                for name in export.metrics
            )
            made.append(Row(epoch, step, record.step, values))
        return downsample(smooth(made, export.window), export.target_points)

    made: dict[Split, list[Row]] = {
        "train": rows(metrics.steps, _TRAIN),
        "valid": rows(metrics.evals, _VALID),
    }
    return {split: made[split] for split in export.splits}


def smooth(rows: Sequence[Row], window: int) -> list[Row]:
    """Replace every value by the mean of those up to window // 2 rows before and after it."""
    half = window // 2
    if not half:
        return list(rows)
    return [
        row._replace(values=_means(rows[max(0, place - half) : place + half + 1]))
        for place, row in enumerate(rows)
    ]


def downsample(rows: Sequence[Row], points: int | None) -> list[Row]:
    """Cut rows into so many buckets at most, as equal as possible, each with its mean values.

    Epoch and steps of a bucket are those of the row in its middle.
    """
    if points is None or len(rows) <= points:
        return list(rows)
    bounds = [number * len(rows) // points for number in range(points + 1)]
    return [
        rows[(start + stop - 1) // 2]._replace(values=_means(rows[start:stop]))
        for start, stop in pairwise(bounds)
    ]


def experiment_names(runs: Sequence[Path]) -> list[str]:
    """Name every run by the shortest end of its path that no other run ends in."""
    parts = [_absolute(run).parts for run in runs]

    def name(own: tuple[str, ...]) -> str:
        for count in range(1, len(own)):
            if sum(other[-count:] == own[-count:] for other in parts) == 1:
                return str(Path(*own[-count:]))
        return str(Path(*own))

    return [name(own) for own in parts]


def _find(folder: Path) -> Path | str | None:
    """The run a folder means, what is wrong with it, or None if it is something else."""
    try:
        _, checkpoint = find_run(folder)
    except CheckpointIncompleteError as error:
        run = RunDir(folder)
        return str(error) if run.config.exists() or run.checkpoints.exists() else None
    return folder if checkpoint is None else folder.parents[1]


def _absolute(path: str | Path) -> Path:
    """A path from the root without `..`; links keep their names."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve would follow links)


def _means(rows: Sequence[Row]) -> tuple[float | None, ...]:
    """The mean of each column, over the rows that have a value."""

    def mean(values: Iterator[float | None]) -> float | None:
        present = [value for value in values if value is not None]
        return math.fsum(present) / len(present) if present else None

    return tuple(mean(row.values[column] for row in rows) for column in range(len(rows[0].values)))


def _to_csv(table: Sequence[tuple[str, Row]], metrics: Sequence[str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [name.replace("-", "_") for name in metrics]
    writer.writerow(["experiment", "epoch", "step", "global_step", *columns])
    for name, row in table:
        writer.writerow([name, row.epoch, row.step, row.global_step, *row.values])
    return text.getvalue().encode(errors="surrogateescape")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
    except OSError as error:
        raise ConfigError(f"cannot write `{path}`: {error.strerror}") from error
