"""Going on with a run from a checkpoint: which one, with which settings, after which records."""

import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec
import tomli_w

from ttt_config import IncompatibleError, RunConfig, diff, load
from ttt_training.checkpoint_files import (
    committed_checkpoints,
    latest_checkpoint,
    step_of,
    sweep_unfinished,
    verify_checkpoint,
)
from ttt_training.durable import write_durably
from ttt_training.retention import newest_valid
from ttt_training.run_dir import RunDir, check_identity, find_run

ASIDE = ".aside"
"""What is added to the name of a checkpoint that a resumed run will write anew."""

_FREE_TO_CHANGE = (
    "out",
    "data.source",  # the fingerprint of the data says whether it is another
    "data.tokenizer",
    "train.steps",
    "train.tokens",  # put into steps
    "train.epochs",
    "train.schedule",
    "train.lr",
    "train.min_lr",
    "train.warmup_steps",
    "train.weight_decay",
    "train.max_grad_norm",
    "train.eval_every",
    "train.activation_checkpointing",
    "train.compile",
    "train.on_nonfinite",
    "train.samples",
    "train.eval_samples",
    "train.log_every",
    "train.save_every",
    "train.keep_last",
    "train.log_to",
    "model.inner.kernel",
    "model.inner.checkpoint_interval",
)


class ResumePoint(NamedTuple):
    """Where a run goes on."""

    run: RunDir
    checkpoint: Path
    skipped: list[str]
    """Newer checkpoints that cannot be used, and why."""


def find_resume_point(path: Path) -> ResumePoint:
    """Find the newest whole checkpoint of a run directory, or take the one the path names.

    Raises:
        CheckpointError: there is no run, or no whole checkpoint of it.
    """
    run, checkpoint = find_run(path)
    skipped: list[str] = []
    if checkpoint is None:
        latest_checkpoint(run.checkpoints)  # if there is none, that says what to do
        checkpoint, damaged = newest_valid(run.checkpoints)
        skipped = [f"{status.problem}" for status in damaged]
    verify_checkpoint(checkpoint)
    check_identity(run, checkpoint)
    return ResumePoint(run, checkpoint, skipped)


def changed_settings(begun: RunConfig, now: RunConfig) -> list[str]:
    """Describe what differs between the settings of a run and those it is to go on with.

    Raises:
        IncompatibleError: settings were changed that the state of the run depends on.
    """
    found = diff(begun, now)
    refused = [each for each in found if each.path not in _FREE_TO_CHANGE]
    if refused:
        lines = "; ".join(f"`{each.path}` was {each.a!r}, now {each.b!r}" for each in refused)
        raise IncompatibleError(
            f"cannot resume with other settings: {lines}; leave them out, or begin another run "
            "with --out OTHER"
        )
    return [f"{each.path}: {each.a} -> {each.b}" for each in found if each.path != "out"]


def rewind(run: RunDir, step: int, config: RunConfig) -> None:
    """Make a run directory what it was after a step, and record the new settings.

    Newer checkpoints are renamed, not removed; newer records of metrics.jsonl go, those of
    events.jsonl stay.
    """
    for path in committed_checkpoints(run.checkpoints):
        if (step_of(path) or 0) > step:
            aside = path.with_name(path.name + ASIDE)
            number = 1
            while aside.exists():
                number += 1
                aside = path.with_name(f"{path.name}{ASIDE}{number}")
            path.rename(aside)
    sweep_unfinished(run.checkpoints)
    if run.metrics.exists():
        write_durably(run.metrics, _records_up_to(run.metrics, step))
    _record_changes(run.config, config)


def _records_up_to(metrics: Path, step: int) -> bytes:
    """The whole records of metrics.jsonl that are no later than a step."""
    kept: list[bytes] = []
    for line in metrics.read_bytes().splitlines(keepends=True):
        try:
            record = msgspec.json.decode(line, type=_Record)
        except msgspec.DecodeError:
            continue  # cut short by a kill
        if record.step <= step and line.endswith(b"\n"):
            kept.append(line)
    return b"".join(kept)


class _Record(msgspec.Struct):
    step: int


def _record_changes(path: Path, config: RunConfig) -> None:
    """Change the values in config.toml that differ and no others, so that hashes of it hold."""
    written = tomllib.loads(path.read_text())
    for change in diff(load(path), config):
        if change.path == "out":
            continue
        table = written
        *sections, name = change.path.split(".")
        for section in sections:
            table = table.setdefault(section, {})
        if change.b is None:
            table.pop(name, None)
        else:
            table[name] = change.b
    write_durably(path, tomli_w.dumps(written).encode())
