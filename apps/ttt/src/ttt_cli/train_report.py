"""What `ttt train` prints: what a dry run found, and each event of a run as lines or a panel.

Imported when torch is, not before: `--help` and bad values can do without.
"""

import os
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import msgspec

from ttt_cli.options import Common
from ttt_cli.progress import table
from ttt_training.dry_run import DryRun
from ttt_training.events import (
    CheckpointSaved,
    EvalRecord,
    RunResumed,
    RunStarted,
    RunStopped,
    RunWarning,
    StepRecord,
    TrainEvent,
    TrainResult,
)
from ttt_training.metrics import eval_line, step_line

_NO_PANEL = {"dumb", "unknown"}
"""Values of TERM of terminals that cannot go back to an earlier line."""


def reporting(
    common: Common, *, plain: bool
) -> AbstractContextManager[Callable[[TrainEvent], None]]:
    """Open what shows the events of a run: a live panel on a terminal, else lines.

    Args:
        common: JSON and quiet are lines.
        plain: lines on a terminal, too.
    """
    lines = plain or common.json or common.quiet or not sys.stdout.isatty()
    if lines or os.environ.get("TERM", "").lower() in _NO_PANEL:
        return nullcontext(Lines(common))
    from ttt_cli.panel import TrainPanel  # rich takes a moment that only a terminal is worth

    return TrainPanel()


class Lines:
    """Prints a line, or a few, for each event; as JSON or the last only, if asked to."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._steps = 0

    def __call__(self, event: TrainEvent) -> None:
        """Show an event."""
        if isinstance(event, RunStarted):
            self._steps = event.steps
        if self._common.quiet and not isinstance(event, TrainResult):
            return
        as_json = self._common.json
        text = msgspec.json.encode(event).decode() if as_json else describe(event, self._steps)
        print(text, flush=True)


def describe(event: TrainEvent, total_steps: int) -> str:
    """Write an event for people."""
    match event:
        case RunStarted():
            return _start(event)
        case StepRecord():
            return step_line(event, total_steps=total_steps)
        case EvalRecord():
            return eval_line(event, total_steps=total_steps)
        case TrainResult():
            return _result(event)
        case CheckpointSaved():
            return f"saved {event.path}"
        case RunResumed():
            return _resumed(event)
        case RunWarning():
            return f"warning: {event.message}"
        case RunStopped():
            return f"stopped by {event.signal} after step {event.step}"


def describe_dry_run(found: DryRun) -> str:
    """Write for people what a run would do and take."""
    parts = msgspec.structs.asdict(found.memory)
    shares = ", ".join(f"{name.replace('_', ' ')} {_size(size)}" for name, size in parts.items())
    return table(
        [
            ("parameters", f"{found.parameters:,}"),
            ("kernel", found.kernel),
            (
                "plan",
                f"{found.steps:,} steps x {found.tokens_per_step:,} tokens = {found.tokens:,} "
                f"tokens, {found.epochs:.2f} epochs",
            ),
            ("memory", f"{_size(found.memory_bytes)}: {shares}"),
            (
                "checkpoint",
                f"{_size(found.checkpoint_bytes)}, {_size(found.free_disk_bytes)} free",
            ),
        ]
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**29 else f"{num_bytes / 2**20:.1f} MiB"


def _start(start: RunStarted) -> str:
    tokens = start.steps * start.tokens_per_step
    rows = {
        "data": f"{start.documents:,} documents, {start.tokens:,} tokens, "
        f"{start.text_bytes:,} bytes",
        "tokenizer": f"{start.tokenizer}, {start.vocab_size:,} tokens",
        "model": f"{start.model}, {start.parameters:,} parameters",
        "device": start.device,
        "kernel": start.kernel,
        "plan": f"{start.steps:,} steps x {start.tokens_per_step:,} tokens = {tokens:,} tokens",
        "unigram": f"{start.unigram_entropy:.4f} nats a token, the entropy of the training "
        "tokens' frequencies",
    }
    if start.left_out:
        rows["left out"] = "; ".join(start.left_out)
    return table([*rows.items()])


def _resumed(event: RunResumed) -> str:
    lines = [f"skipped    {reason}" for reason in event.skipped]
    lines += [f"changed    {change}" for change in event.changed]
    return "\n".join([*lines, f"resumed    {event.checkpoint}, after step {event.step:,}"])


def _result(result: TrainResult) -> str:
    gain = result.unigram_entropy - result.val_loss
    rows = {
        "val loss": f"{result.val_loss:.4f} nats a token",
        "unigram": f"{result.unigram_entropy:.4f} nats a token",
        "difference": f"{gain:+.4f} nats a token {'won' if gain > 0 else 'lost'} over frequencies",
    }
    if result.inner_loss_before is not None and result.inner_loss_after is not None:
        rows["inner loss"] = (
            f"{result.inner_loss_before:.4f} before, {result.inner_loss_after:.4f} after the "
            "update of each mini-batch (one validation batch, mean over layers)"
        )
    rows["artifacts"] = result.out
    rows["try"] = f"ttt generate {shlex.quote(result.out)}"
    return table([*rows.items()])
