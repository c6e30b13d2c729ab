"""`ttt train`: train a model and write a run directory."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, Layers, common_options, config_options, ignored_options
from ttt_config import RunConfig, resolve
from ttt_config.layer import file_layer

if TYPE_CHECKING:
    from ttt_training.events import RunResumed, RunStarted, TrainEvent, TrainResult

app = new_app()


@app.command()
@common_options
@config_options
@ignored_options
def train(
    layers: Layers,
    common: Common,
    notes: tuple[str, ...],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the directory, if there is one.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Plan the run and estimate what it takes; write nothing."),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="auto|PATH",
            help="Go on with a run: that at --out if it has a checkpoint (auto), or that of a run "
            "directory or checkpoint. Its settings hold; those that may change can be given.",
        ),
    ] = None,
) -> None:
    """Train a language model and write a run directory.

    Without options: a small model, on built-in stories with the built-in tokenizer.
    """
    config, _ = resolve(*layers)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if dry_run:
        _show_dry_run(config, common)
        return
    if resume is not None:
        config = _config_to_resume(config, layers, resume)

    import ttt_training  # not above: it takes seconds, which --help and bad values can do without
    from ttt_training.events import RunStarted, TrainResult

    steps = config.train.steps

    def show(event: "TrainEvent") -> None:
        nonlocal steps
        if isinstance(event, RunStarted):
            steps = event.steps  # also if the length was given as tokens or epochs
        if common.quiet and not isinstance(event, TrainResult):
            return
        text = msgspec.json.encode(event).decode() if common.json else _describe(event, steps)
        print(text, flush=True)

    ttt_training.train(config, overwrite=overwrite, resume=resume, on_event=show)


def _show_dry_run(config: RunConfig, common: Common) -> None:
    """Say what a run would do and take."""
    from ttt_training.dry_run import dry_run

    found = dry_run(config)
    if common.json:
        print(msgspec.json.encode(found).decode())
        return
    parts = msgspec.structs.asdict(found.memory)
    shares = ", ".join(f"{name.replace('_', ' ')} {_size(size)}" for name, size in parts.items())
    rows = {
        "parameters": f"{found.parameters:,}",
        "plan": f"{found.steps:,} steps x {found.tokens_per_step:,} tokens = {found.tokens:,} "
        f"tokens, {found.epochs:.2f} epochs",
        "memory": f"{_size(found.memory_bytes)}: {shares}",
        "checkpoint": f"{_size(found.checkpoint_bytes)}, {_size(found.free_disk_bytes)} free",
    }
    print(_table(rows))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**29 else f"{num_bytes / 2**20:.1f} MiB"


def _config_to_resume(config: RunConfig, layers: Layers, resume: str) -> RunConfig:
    """The configuration of the run that goes on, under what the command line gives."""
    folder = Path(config.out if resume == "auto" else resume)
    if folder.parent.name == "checkpoints":  # that of one checkpoint
        folder = folder.parent.parent
    if resume == "auto" and not (folder / "config.toml").is_file():
        return config
    begun, _ = resolve(file_layer(folder), *layers)
    return msgspec.structs.replace(begun, out=str(folder))  # it may have been moved


def _describe(event: "TrainEvent", total_steps: int) -> str:
    """Write an event for people."""
    from ttt_training.events import (
        CheckpointSaved,
        EvalRecord,
        RunResumed,
        RunStarted,
        RunStopped,
        RunWarning,
        StepRecord,
        TrainResult,
    )
    from ttt_training.metrics import eval_line, step_line

    match event:
        case RunStarted():
            return _describe_start(event)
        case StepRecord():
            return step_line(event, total_steps=total_steps)
        case EvalRecord():
            return eval_line(event, total_steps=total_steps)
        case TrainResult():
            return _describe_result(event)
        case CheckpointSaved():
            return f"saved {event.path}"
        case RunResumed():
            return _describe_resumed(event)
        case RunWarning():
            return f"warning: {event.message}"
        case RunStopped():
            return f"stopped by {event.signal} after step {event.step}"


def _describe_resumed(event: "RunResumed") -> str:
    lines = [f"skipped    {reason}" for reason in event.skipped]
    lines += [f"changed    {change}" for change in event.changed]
    return "\n".join([*lines, f"resumed    {event.checkpoint}, after step {event.step:,}"])


def _describe_start(start: "RunStarted") -> str:
    tokens = start.steps * start.tokens_per_step
    return _table(
        {
            "data": f"{start.documents:,} documents, {start.tokens:,} tokens, "
            f"{start.text_bytes:,} bytes",
            "tokenizer": f"{start.tokenizer}, {start.vocab_size:,} tokens",
            "model": f"{start.model}, {start.parameters:,} parameters",
            "device": start.device,
            "plan": f"{start.steps:,} steps x {start.tokens_per_step:,} tokens = {tokens:,} tokens",
            "unigram": f"{start.unigram_entropy:.4f} nats a token, the entropy of the training "
            "tokens' frequencies",
            **({"left out": "; ".join(start.left_out)} if start.left_out else {}),
        }
    )


def _describe_result(result: "TrainResult") -> str:
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
    return _table(rows)


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows.items())
