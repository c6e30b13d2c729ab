"""THE training loop, top to bottom."""

import shlex
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from torch.optim import Optimizer

from ttt_config import CheckpointError, NonFiniteError, PreemptedError, RunConfig, load
from ttt_data import Batch, Tokenizer
from ttt_data.loader import prefetch
from ttt_data.seeds import derive_seed
from ttt_layer import TTTModel
from ttt_training.build import build_model, fit_vocabulary
from ttt_training.checkpoint import (
    checkpoint_bytes,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
)
from ttt_training.checkpoint_files import committed_checkpoints
from ttt_training.data import TrainingData, adopt_tokenizer, load_data
from ttt_training.device import default_device, device_of, peak_memory_bytes
from ttt_training.evaluation import evaluate
from ttt_training.events import (
    CheckpointSaved,
    EvalRecord,
    RunResumed,
    RunStopped,
    RunWarning,
    StepRecord,
    TrainEvent,
    TrainResult,
)
from ttt_training.length import fit_length, tokens_per_step
from ttt_training.manifest import RunIdentity
from ttt_training.metrics import Reporter, Throughput
from ttt_training.optim import build_optimizer
from ttt_training.resume import changed_settings, find_resume_point, rewind
from ttt_training.retention import prune_checkpoints
from ttt_training.run_dir import RunDir
from ttt_training.seeds import seeded_torch
from ttt_training.signals import StopRequested, StopSignals
from ttt_training.step import NotFiniteError, Step, take_step
from ttt_training.summary import summarize_end, summarize_start


def train(
    config: RunConfig,
    *,
    overwrite: bool = False,
    resume: str | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> TrainResult:
    """Train a model and leave a run directory at `config.out`.

    On one machine the same configuration gives the same losses and parameters, bit for bit, also
    if the run was killed and resumed on the way.

    Args:
        config: the whole run.
        overwrite: replace the run that is at `config.out` already.
        resume: `auto` goes on with the run at `config.out`, or begins it if it has no checkpoint;
            a run directory or checkpoint goes on with that. `config` is then what the run was
            begun with, but for settings that may change.
        on_event: told of the start, each logged step, evaluation and checkpoint, and the end.

    Raises:
        ConfigError: the directory is taken, or values of the configuration do not fit together.
        DataError: the text or the tokenizer cannot be read, or the text is too short.
        NonFiniteError: the loss or the gradient of a step is not a number; raised before it
            reaches the parameters.
        CheckpointError: the disk refused the last checkpoint, or there is none to resume from.
        PreemptedError: a signal asked the run to end; its state is saved.
    """
    with StopSignals() as stop, seeded_torch(derive_seed(config.train.seed, "training")):
        run = RunDir(Path(config.out))
        if resume == "auto" and not committed_checkpoints(run.checkpoints):
            overwrite, resume = run.info.is_file(), None
        if resume is not None:
            return _resume(config, resume, stop, on_event)
        run.check_free(overwrite=overwrite)  # before the minute that reading the data may take
        config = adopt_tokenizer(config)
        tokenizer = Tokenizer.load(config.data.tokenizer)
        config = fit_vocabulary(config, tokenizer)
        data = load_data(config, tokenizer)
        config = fit_length(config, data.train)
        model = build_model(config).to(default_device())
        run.create(config, tokenizer, default_device(), overwrite=overwrite)
        optimizer = build_optimizer(model, config.train)
        trainer = _Trainer(
            config, tokenizer, data, model, optimizer, run.checkpoints, run.identity(), stop
        )
        with Reporter(run, on_event) as report:
            return trainer.train(report, start=0)


def _resume(
    config: RunConfig,
    where: str,
    stop: StopSignals,
    on_event: Callable[[TrainEvent], None] | None,
) -> TrainResult:
    """Go on with a run."""
    run, checkpoint, skipped = find_resume_point(Path(config.out if where == "auto" else where))
    tokenizer = Tokenizer.load(run.tokenizer)
    config = fit_vocabulary(adopt_tokenizer(config), tokenizer)
    changed_settings(load(run.config), config)  # before the minute that reading the data may take
    data = load_data(config, tokenizer)
    config = fit_length(config, data.train)
    changed = changed_settings(load(run.config), config)
    model = build_model(config)
    load_checkpoint(checkpoint, model)
    model = model.to(default_device())
    optimizer = build_optimizer(model, config.train)
    place = load_training_state(checkpoint, model, optimizer)
    start = data.train.step_of(place)
    trainer = _Trainer(
        config, tokenizer, data, model, optimizer, run.checkpoints, run.identity(), stop
    )
    if start >= config.train.steps:
        if on_event is not None:
            on_event(_nothing_to_do(start, config.train.steps))
        return trainer.summarize(trainer.evaluate(start), checkpoint)
    rewind(run, start, config)
    with Reporter(run, on_event) as report:
        report(
            RunResumed(
                step=start,
                checkpoint=str(checkpoint),
                skipped=skipped,
                changed=changed,
            )
        )
        return trainer.train(report, start=start)


def _nothing_to_do(taken: int, wanted: int) -> RunWarning:
    message = f"nothing to do: the run has taken {taken} of {wanted} steps; raise --steps to go on"
    return RunWarning(step=taken, message=message)


@dataclass
class _Trainer:
    """The parts of a run, and what is done with them."""

    config: RunConfig
    tokenizer: Tokenizer
    data: TrainingData
    model: TTTModel
    optimizer: Optimizer
    checkpoints: Path
    identity: RunIdentity
    stop: StopSignals
    val_losses: dict[int, float] = field(default_factory=dict)
    """By step, of the evaluations since the start or the resumption."""

    def train(self, report: Callable[[TrainEvent], None], *, start: int) -> TrainResult:
        """Take the steps after `start`; log, evaluate and save at their intervals and at the end.

        Raises:
            PreemptedError: a signal asked the run to end; its state is saved.
        """
        settings = self.config.train
        throughput = Throughput()
        report(summarize_start(self.config, self.tokenizer, self.data, self.model))
        step = start
        try:
            with closing(prefetch(self.data.train, start)) as batches:
                while step < settings.steps:
                    self.stop.check()
                    with throughput.waiting():
                        batch = next(batches)
                    with throughput.measure(tokens_per_step(self.config)):
                        taken = self.take_step(batch, step + 1)
                    step += 1
                    if step in {1, settings.steps} or step % settings.log_every == 0:
                        report(self.record(step, taken, throughput))
                    if step == settings.steps:
                        break  # the end is evaluated and saved below, whatever the intervals
                    if step % settings.eval_every == 0:
                        report(self.evaluate(step))
                    if step % settings.save_every == 0:
                        self.save(step, report)
            validation = self.evaluate(step)
        except StopRequested:
            self.save_and_stop(step, report)
        report(validation)
        checkpoint = self.commit(step, report)
        result = self.summarize(validation, Path(checkpoint.path))
        report(result)
        return result

    def summarize(self, validation: EvalRecord, checkpoint: Path) -> TrainResult:
        """Say what the run came to."""
        return summarize_end(self.config, self.data, self.model, validation, str(checkpoint))

    def take_step(self, batch: Batch, step: int) -> Step:
        """Learn from the batch of one step.

        Raises:
            NonFiniteError: its loss or gradient is not a number.
        """
        try:
            return take_step(
                self.model, self.optimizer, batch, step=step, settings=self.config.train
            )
        except NotFiniteError as error:
            starts = ", ".join(map(str, self.data.train.samples(step - 1).start))
            raise NonFiniteError(
                f"step {step}: {error}, on the windows from tokens {starts} of the training text; "
                f"the parameters are those after step {step - 1}. Try a lower --lr, a longer "
                "--warmup-steps or --dtype f32"
            ) from error

    def record(self, step: int, taken: Step, throughput: Throughput) -> StepRecord:
        """Put a step and the speed since the last record into numbers."""
        rates = throughput.take()
        return StepRecord(
            step=step,
            loss=taken.loss.item(),
            lr=taken.lr,
            grad_norm=taken.grad_norm.item(),
            tokens=step * tokens_per_step(self.config),
            tokens_per_s=rates.tokens_per_s,
            data_time_s=rates.wait_s,
            peak_memory_bytes=peak_memory_bytes(device_of(self.model)),
        )

    def evaluate(self, step: int) -> EvalRecord:
        """Measure the model on the validation split.

        Raises:
            StopRequested: a signal asks the run to end.
        """
        found = evaluate(
            self.model,
            self.stop.between(self.data.validation_batches(self.config.train.eval_batches)),
            byte_lengths=self.tokenizer.byte_lengths(),
            dtype=self.config.train.dtype,
        )
        self.val_losses[step] = found.loss
        return EvalRecord(
            step=step,
            val_loss=found.loss,
            val_loss_error=found.loss_error,
            val_ppl=found.perplexity,
            val_bpb=found.bits_per_byte,
        )

    def save(self, step: int, report: Callable[[TrainEvent], None]) -> None:
        """Commit a checkpoint, or warn that it cannot be done and go on without."""
        try:
            self.commit(step, report)
        except CheckpointError as error:
            report(RunWarning(step=step, message=f"{error}; the run goes on without it"))

    def commit(self, step: int, report: Callable[[TrainEvent], None]) -> CheckpointSaved:
        """Commit a checkpoint and remove those that need not be kept.

        Raises:
            CheckpointError: the disk refused it; earlier checkpoints are as they were.
        """
        needed = checkpoint_bytes(self.model, self.optimizer)
        free = shutil.disk_usage(self.checkpoints.parent).free
        if free < needed:
            message = f"a checkpoint takes {needed:,} bytes and {free:,} are free: make room"
            report(RunWarning(step=step, message=message))
        path = save_checkpoint(
            self.checkpoints,
            self.model,
            step=step,
            run=self.identity,
            optimizer=self.optimizer,
            place=self.data.train.state(step),
            val_loss=self.val_losses.get(step),
        )
        saved = CheckpointSaved(step=step, path=str(path))
        report(saved)
        prune_checkpoints(self.checkpoints, keep_last=self.config.train.keep_last)
        return saved

    def save_and_stop(self, step: int, report: Callable[[TrainEvent], None]) -> NoReturn:
        """Save what a signal interrupts.

        Raises:
            PreemptedError: always.
        """
        name = self.stop.received.name if self.stop.received else "a signal"
        if not (self.checkpoints / f"step-{step:06d}").exists():
            self.save(step, report)
        report(RunStopped(step=step, signal=name))
        raise PreemptedError(
            f"stopped by {name} after step {step} of {self.config.train.steps}; go on with "
            f"`ttt train --resume {shlex.quote(str(self.checkpoints.parent))}`"
        )
