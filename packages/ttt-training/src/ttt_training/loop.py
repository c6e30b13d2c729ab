"""THE training loop, top to bottom."""

import shlex
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ttt_config import PreemptedError, RunConfig
from ttt_data import Batch, Tokenizer
from ttt_data.loader import prefetch
from ttt_training.data import TrainingData
from ttt_training.device import device_of, peak_memory_bytes
from ttt_training.diagnose import locate_non_finite
from ttt_training.evaluation import evaluate
from ttt_training.events import (
    EvalRecord,
    RunStopped,
    RunWarning,
    StepRecord,
    TrainEvent,
    TrainResult,
)
from ttt_training.learner import Learner
from ttt_training.length import tokens_per_step
from ttt_training.metrics import Throughput
from ttt_training.nonfinite import NonFinitePolicy
from ttt_training.run_dir import RunDir
from ttt_training.saving import Saver
from ttt_training.signals import StopRequested, StopSignals
from ttt_training.step import NotFiniteError, Step, take_step
from ttt_training.summary import summarize_end, summarize_evaluation, summarize_start


@dataclass
class TrainingLoop:
    """The parts of a run, and what is done with them."""

    config: RunConfig
    tokenizer: Tokenizer
    data: TrainingData
    learner: Learner
    run: RunDir
    stop: StopSignals
    val_losses: dict[int, float] = field(default_factory=dict)
    """By step, of the evaluations since the start or the resumption."""

    def train(self, report: Callable[[TrainEvent], None], *, start: int) -> TrainResult:
        """Take the steps after `start`; log, evaluate and save at their intervals and at the end.

        Raises:
            NonFiniteError: a loss or gradient is not a number, and `train.on_nonfinite` or the
                number of such steps says to stop.
            CheckpointError: the disk refused the last checkpoint.
            PreemptedError: a signal asked the run to end; its state is saved.
        """
        settings = self.config.train
        throughput = Throughput()
        saver = Saver(
            self.run.checkpoints,
            self.run.identity(),
            self.learner,
            self.data.train,
            settings.keep_last,
            report,
        )
        policy = NonFinitePolicy(settings, self.run.checkpoints)
        report(summarize_start(self.config, self.tokenizer, self.data, self.learner.model))
        step = start
        try:
            with closing(prefetch(self.data.train, start)) as batches:
                while step < settings.steps:
                    self.stop.check()
                    with throughput.waiting():
                        batch = next(batches)
                    with throughput.measure(tokens_per_step(self.config)):
                        taken = self.take_step(batch, step + 1, policy, report)
                    step += 1
                    if taken and (step in {1, settings.steps} or step % settings.log_every == 0):
                        report(self.record(step, taken, throughput))
                    if step == settings.steps:
                        break  # the end is evaluated and saved below, whatever the intervals
                    if step % settings.eval_every == 0:
                        report(self.evaluate(step))
                    if step % settings.save_every == 0:
                        saver.try_save(step, self.val_losses.get(step))
            validation = self.evaluate(step)
        except StopRequested:
            self.save_and_stop(step, saver)
        report(validation)
        result = self.summarize(validation, saver.save(step, validation.val_loss))
        report(result)
        return result

    def take_step(
        self,
        batch: Batch,
        step: int,
        policy: NonFinitePolicy,
        report: Callable[[TrainEvent], None],
    ) -> Step | None:
        """Learn from the batch of one step; None if it was left out.

        Raises:
            NonFiniteError: its loss or gradient is not a number, and the run is to stop.
        """
        settings = self.config.train
        try:
            taken = take_step(self.learner, batch, step=step, settings=settings)
        except NotFiniteError as error:
            place = locate_non_finite(self.learner, batch, step=step, settings=settings)
            starts = ", ".join(map(str, self.data.train.samples(step - 1).start))
            problem = (
                f"step {step}: {error}, {place}, on the windows from tokens {starts} of the "
                "training text"
            )
            done = policy.handle(self.learner, problem, step=step)
            report(RunWarning(step=step, message=done))
            return None
        policy.note_good_step()
        if taken.overflowed:
            scale = self.learner.scaler.get_scale()
            message = (
                f"step {step} left out: a gradient overflowed; the loss scale is now {scale:g}"
            )
            report(RunWarning(step=step, message=message))
        return taken

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
            peak_memory_bytes=peak_memory_bytes(device_of(self.learner.model)),
        )

    def evaluate(self, step: int) -> EvalRecord:
        """Measure the model on the validation split.

        Raises:
            StopRequested: a signal asks the run to end.
        """
        found = evaluate(
            self.learner.model,
            self.stop.between(self.data.validation_batches(self.config.train.eval_samples)),
            byte_lengths=self.tokenizer.byte_lengths(),
            dtype=self.config.train.dtype,
        )
        self.val_losses[step] = found.loss
        return summarize_evaluation(step, found, self.data, self.learner.model)

    def summarize(self, validation: EvalRecord, checkpoint: Path) -> TrainResult:
        """Say what the run came to."""
        return summarize_end(self.config, self.data, validation, str(checkpoint))

    def save_and_stop(self, step: int, saver: Saver) -> NoReturn:
        """Save what a signal interrupts.

        Raises:
            PreemptedError: always.
        """
        name = self.stop.received.name if self.stop.received else "a signal"
        if not (self.run.checkpoints / f"step-{step:06d}").exists():
            saver.try_save(step, self.val_losses.get(step))
        saver.report(RunStopped(step=step, signal=name))
        raise PreemptedError(
            f"stopped by {name} after step {step} of {self.config.train.steps}; go on with "
            f"`ttt train --resume {shlex.quote(str(self.run.checkpoints.parent))}`"
        )
