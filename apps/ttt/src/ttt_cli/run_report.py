"""What `ttt info` and `ttt ckpt` print of a run."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ttt_cli.progress import megabytes

if TYPE_CHECKING:
    from ttt_training.retention import CheckpointStatus
    from ttt_training.run_info import Figures, Progress, RunReport

_BAR_WIDTH = 30
_NAME_WIDTH = 12

Rows = Sequence[tuple[str, str]]


def write_report(report: "RunReport") -> str:
    """Write a report for people."""
    sections: list[tuple[str, Rows]] = [
        (f"run {report.run}", _run_rows(report)),
        ("model", _model_rows(report)),
        ("training", _training_rows(report)),
        ("data", _data_rows(report)),
        ("progress", _progress_rows(report.progress, report.run)),
        (
            "metrics",
            [
                ("training", _figures(report.newest_training, about="about ")),
                ("validation", _figures(report.newest_validation)),
            ],
        ),
    ]
    if report.evaluations is not None:
        rows = [(f"step {each.step:,}", _measured(each)) for each in report.evaluations]
        sections.append(("evaluations", rows or [("none", "")]))
    if report.checkpoints is not None:
        rows = [(Path(each.path).name, describe_checkpoint(each)) for each in report.checkpoints]
        sections.append(("checkpoints", rows or [("none", "")]))
    return "\n\n".join(_section(title, rows) for title, rows in sections)


def to_json(value: object) -> str:
    r"""Encode what --json prints; a path that is not UTF-8 keeps its bytes, as in `\udcff`."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value))


def describe_checkpoint(status: "CheckpointStatus") -> str:
    """Write what a checkpoint is worth, without its name."""
    loss = "" if status.val_loss is None else f", val loss {status.val_loss:.4f}"
    state = "whole" if status.problem is None else f"DAMAGED: {status.problem}"
    return f"{megabytes(status.bytes)}{loss}, {state}"


def _section(title: str, rows: Rows) -> str:
    lines = [f"  {name:{_NAME_WIDTH}}  {value}".rstrip() for name, value in rows]
    return "\n".join([title, *lines])


def _run_rows(report: "RunReport") -> Rows:
    return [("started", report.started or "not known"), ("device", report.device or "not known")]


def _model_rows(report: "RunReport") -> Rows:
    model = report.model
    return [
        ("layer type", model.layer_type),
        ("hidden size", f"{model.hidden_size:,}"),
        ("layers", f"{model.num_layers}"),
        ("heads", f"{model.num_heads}"),
        ("vocabulary", _count(model.vocab_size)),
        ("max length", f"{model.max_seq_len:,} tokens"),
        ("positions", model.pos_encoding),
        ("mini-batch", f"{model.mini_batch_size:,} tokens"),
        ("base lr", f"{model.base_lr:g}"),
        ("parameters", _count(model.parameters)),
        ("kernel", model.kernel or "not known"),
    ]


def _training_rows(report: "RunReport") -> Rows:
    training = report.training
    return [
        ("batch", f"{training.batch_size:,} windows"),
        (
            "accumulation",
            f"{training.grad_accum_steps:,}, in all {training.tokens_per_step:,} tokens a step",
        ),
        ("steps", f"{training.steps:,}"),
        ("lr", f"{training.lr:.2e}"),
        ("schedule", training.schedule),
        ("warm-up", f"{training.warmup_steps:,} steps"),
        ("dtype", training.dtype),
        ("seed", f"{training.seed}"),
    ]


def _data_rows(report: "RunReport") -> Rows:
    data = report.data
    rows = [("source", data.source), ("tokenizer", data.tokenizer)]
    if data.documents is not None and data.tokens is not None:
        rows.append(("text", f"{data.documents:,} documents, {data.tokens:,} tokens to train on"))
    return rows


def _progress_rows(progress: "Progress", run: str) -> Rows:
    share = min(1.0, progress.step / progress.steps)
    bar = "#" * int(share * _BAR_WIDTH)
    passes = "" if progress.passes is None else f", {progress.passes:.2f} passes over the text"
    newest, best = progress.newest, progress.best
    return [
        ("steps", f"[{bar:-<{_BAR_WIDTH}}] {progress.step:,} / {progress.steps:,}{passes}"),
        ("newest", _checkpoint(newest) if newest else "no checkpoint yet"),
        ("best", _checkpoint(best) if best else "no checkpoint was evaluated"),
        ("state", _state(progress, run)),
    ]


def _checkpoint(status: "CheckpointStatus") -> str:
    return f"{Path(status.path).name}, {describe_checkpoint(status)}"


def _state(progress: "Progress", run: str) -> str:
    if progress.state == "finished":
        return "finished"
    if progress.state == "stopped":
        again = f"go on with `ttt train --resume {shlex.quote(run)}`"
        return f"stopped by {progress.signal or 'a signal'}; {again}"
    when = f"last record {progress.last_written}" if progress.last_written else "no record yet"
    return f"not ended: it is running, or was killed ({when})"


def _figures(figures: "Figures | None", *, about: str = "") -> str:
    if figures is None:
        return "nothing logged yet"
    return f"step {figures.step:,}: {_measured(figures, about=about)}"


def _measured(figures: "Figures", *, about: str = "") -> str:
    error = "" if figures.loss_error is None else f" +- {figures.loss_error:.4f}"
    parts = [
        f"loss {_number(figures.loss, 4)}{error}",
        f"perplexity {_number(figures.perplexity, 2)}",
    ]
    if figures.bits_per_byte is not None:
        parts.append(f"{about}{_number(figures.bits_per_byte, 4)} bits/byte")
    before, after = figures.inner_loss_before, figures.inner_loss_after
    if before is not None and after is not None:
        parts.append(f"inner loss {before:.2f} -> {after:.2f}")
    return ", ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "not finite" if value is None else f"{value:,.{digits}f}"


def _count(value: int | None) -> str:
    return "not known yet" if value is None else f"{value:,}"
