"""What a run is and how far it has come, from its directory alone and without a tensor."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ttt_config import CheckpointError, RunConfig, load
from ttt_training.checkpoint_files import MODEL_NAME, committed_checkpoints
from ttt_training.events_file import Beginning, History, State, read_history
from ttt_training.length import tokens_per_step
from ttt_training.metrics_file import LoggedEval, LoggedStep, perplexity, read_metrics
from ttt_training.retention import CheckpointStatus, best_checkpoint, checkpoint_status
from ttt_training.run_dir import RunDir, RunInfo, find_run


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a run."""

    layer_type: str
    hidden_size: int
    num_layers: int
    num_heads: int
    vocab_size: int | None
    max_seq_len: int
    pos_encoding: str
    mini_batch_size: int
    base_lr: float
    parameters: int | None
    """None if the run has built no model yet, as `kernel`."""
    kernel: str | None = None
    """Which computes the inner loop, and why."""


class TrainingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How it is trained."""

    batch_size: int
    """Sequences per forward pass."""
    grad_accum_steps: int
    tokens_per_step: int
    steps: int
    lr: float
    schedule: str
    warmup_steps: int
    dtype: str
    seed: int


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What it is trained on."""

    source: str
    tokenizer: str
    documents: int | None
    """Of the training split, as `tokens`; None if the run has not read its text yet."""
    tokens: int | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured at one step; None is a number that was not finite."""

    step: int
    loss: float | None
    """Nats a token."""
    loss_error: float | None = None
    """Its standard error, of an evaluation."""
    perplexity: float | None
    bits_per_byte: float | None
    """Of training: from the loss and the mean length of a training token."""
    inner_loss_before: float | None = None
    """Of an evaluation: inner loss before the update of each mini-batch; None if not measured."""
    inner_loss_after: float | None = None
    """The same after the update."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run has come."""

    step: int
    """The newest that was logged, evaluated or saved."""
    steps: int
    """In all."""
    passes: float | None
    """Over the training text; None if its length is not known."""
    state: State
    signal: str | None
    """Which stopped it."""
    last_written: str | None
    """When something was last logged; ISO 8601, UTC."""
    newest: CheckpointStatus | None
    """Newest checkpoint, every byte of it verified."""
    best: CheckpointStatus | None
    """The whole checkpoint with the lowest validation loss."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say of a run."""

    run: str
    started: str | None
    """ISO 8601, UTC."""
    device: str | None
    model: ModelFacts
    training: TrainingFacts
    data: DataFacts
    progress: Progress
    newest_training: Figures | None
    newest_validation: Figures | None
    evaluations: list[Figures] | None = None
    """All of them; None if they were not asked for, as `checkpoints`."""
    checkpoints: list[CheckpointStatus] | None = None
    """All of them, verified."""


def describe_run(path: Path, *, verbose: bool = False) -> RunReport:
    """Read what a run is and how far it has come; nothing is written.

    Args:
        path: a run directory or a checkpoint in one; the run may still be going on.
        verbose: with all evaluations and all checkpoints.

    Raises:
        CheckpointIncompleteError: there is no run.
        CheckpointError: a line of metrics.jsonl is damaged, or a file cannot be read.
        ConfigError: config.toml cannot be read.
    """
    run, _ = find_run(path)
    config = load(run.config)
    history = read_history(run.events)
    metrics = read_metrics(run.metrics)
    evaluations = [_of_validation(record) for record in metrics.evals]
    training = [_of_training(record, history.beginning) for record in metrics.steps[-1:]]
    logged = max([each.step for each in training + evaluations], default=0)
    about = _read_info(run.info)
    statuses = _verified(run.checkpoints, all_of_them=verbose)
    return RunReport(
        run=str(run.path),
        started=about.started if about else None,
        device=about.device if about else None,
        model=_model_facts(config, run, history.beginning),
        training=_training_facts(config),
        data=DataFacts(
            source=config.data.source,
            tokenizer=config.data.tokenizer,
            documents=history.beginning.documents if history.beginning else None,
            tokens=history.beginning.tokens if history.beginning else None,
        ),
        progress=_progress(run, config, history, statuses, logged),
        newest_training=training[-1] if training else None,
        newest_validation=evaluations[-1] if evaluations else None,
        evaluations=evaluations if verbose else None,
        checkpoints=statuses if verbose else None,
    )


def train_bits_per_byte(loss: float | None, beginning: Beginning | None) -> float | None:
    """Put a training loss into bits a byte, at the mean length of a training token.

    Args:
        loss: nats a token.
        beginning: with the size of the training text; None if that is not known.
    """
    if loss is None or beginning is None or not beginning.text_bytes:
        return None
    return loss / math.log(2) * beginning.tokens / beginning.text_bytes


def count_parameters(checkpoint: Path) -> int | None:
    """Count the numbers of a checkpoint's model by the header of its file; None if it has none."""
    try:
        with (checkpoint / MODEL_NAME).open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            entries: dict[str, dict[str, list[int]]] = json.loads(stream.read(min(size, 2**27)))
        return sum(math.prod(entry["shape"]) for name, entry in entries.items() if name[:2] != "__")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # no file, or no header
        return None


def _of_training(record: LoggedStep, beginning: Beginning | None) -> Figures:
    return Figures(
        step=record.step,
        loss=record.loss,
        perplexity=perplexity(record.loss),
        bits_per_byte=train_bits_per_byte(record.loss, beginning),
    )


def _of_validation(record: LoggedEval) -> Figures:
    return Figures(
        step=record.step,
        loss=record.val_loss,
        loss_error=record.val_loss_error,
        perplexity=perplexity(record.val_loss),
        bits_per_byte=record.val_bpb,
        inner_loss_before=record.inner_loss_before,
        inner_loss_after=record.inner_loss_after,
    )


def _model_facts(config: RunConfig, run: RunDir, beginning: Beginning | None) -> ModelFacts:
    parameters = beginning.parameters if beginning else None
    checkpoints = committed_checkpoints(run.checkpoints)
    if parameters is None and checkpoints:
        parameters = count_parameters(checkpoints[-1])
    model = config.model
    return ModelFacts(
        layer_type=model.layer_type,
        hidden_size=model.hidden_size,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        vocab_size=model.vocab_size,
        max_seq_len=model.max_seq_len,
        pos_encoding=model.pos_encoding,
        mini_batch_size=model.inner.mini_batch_size,
        base_lr=model.inner.base_lr,
        parameters=parameters,
        kernel=beginning.kernel if beginning else None,
    )


def _training_facts(config: RunConfig) -> TrainingFacts:
    settings = config.train
    return TrainingFacts(
        batch_size=settings.batch_size,
        grad_accum_steps=settings.grad_accum_steps,
        tokens_per_step=tokens_per_step(config),
        steps=settings.steps,
        lr=settings.lr,
        schedule=settings.schedule,
        warmup_steps=settings.warmup_steps,
        dtype=settings.dtype,
        seed=settings.seed,
    )


def _verified(checkpoints: Path, *, all_of_them: bool) -> list[CheckpointStatus]:
    """The newest checkpoint and the best, or all, in the order of their steps."""
    saved = committed_checkpoints(checkpoints)
    wanted = set(saved if all_of_them else saved[-1:])
    with suppress(CheckpointError):  # none was evaluated
        wanted.add(best_checkpoint(checkpoints))
    return [checkpoint_status(path) for path in saved if path in wanted]


def _progress(
    run: RunDir,
    config: RunConfig,
    history: History,
    statuses: Sequence[CheckpointStatus],
    logged: int,
) -> Progress:
    step = max([logged, *(status.step for status in statuses)])
    text = history.beginning.tokens if history.beginning else 0
    losses = {status.step: loss for status in statuses if (loss := status.val_loss) is not None}
    best = min(losses, key=lambda step: losses[step], default=None)
    return Progress(
        step=step,
        steps=config.train.steps,
        passes=step * tokens_per_step(config) / text if text else None,
        state=history.state,
        signal=history.signal,
        last_written=_last_written(run),
        newest=statuses[-1] if statuses else None,
        best=next((status for status in statuses if status.step == best), None),
    )


def _last_written(run: RunDir) -> str | None:
    times = [path.stat().st_mtime for path in (run.metrics, run.events) if path.exists()]
    if not times:
        return None
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")


def _read_info(path: Path) -> RunInfo | None:
    """What run.json tells; None if it is missing or damaged, for nothing depends on it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunInfo)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
