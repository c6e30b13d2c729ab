"""THE training loop, top to bottom."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ttt_config import NonFiniteError, RunConfig
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.build import build_model, fit_vocabulary
from ttt_training.checkpoint import save_checkpoint
from ttt_training.data import TrainingData, adopt_tokenizer, load_data
from ttt_training.device import autocast, default_device, device_of
from ttt_training.evaluate import evaluate
from ttt_training.events import CheckpointSaved, EvalRecord, StepRecord, TrainEvent, TrainResult
from ttt_training.loss import cross_entropy
from ttt_training.manifest import RunIdentity
from ttt_training.metrics import Reporter, Throughput
from ttt_training.optim import build_optimizer
from ttt_training.run_dir import RunDir
from ttt_training.schedule import learning_rate
from ttt_training.summary import summarize_end, summarize_start


def train(
    config: RunConfig,
    *,
    overwrite: bool = False,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> TrainResult:
    """Train a model and leave a run directory at `config.out`.

    On one machine the same configuration gives the same losses and parameters, bit for bit.

    Args:
        config: the whole run.
        overwrite: replace the run that is at `config.out` already.
        on_event: told of the start, each logged step, evaluation and checkpoint, and the end.

    Raises:
        ConfigError: the directory is taken, or values of the configuration do not fit together.
        DataError: the text or the tokenizer cannot be read, or the text is too short.
        NonFiniteError: the loss or the gradient of a step is not a number; raised before it
            reaches the parameters.
        CheckpointError: the disk refused a checkpoint.
    """
    run = RunDir(Path(config.out))
    run.check_free(overwrite=overwrite)  # before the minute that reading the data may take
    device = default_device()
    config = adopt_tokenizer(config)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    config = fit_vocabulary(config, tokenizer)
    data = load_data(config, tokenizer)
    model = build_model(config).to(device)
    optimizer = build_optimizer(model.parameters(), config.train)
    run.create(config, tokenizer, device, overwrite=overwrite)
    trainer = _Trainer(config, tokenizer, data, model, optimizer, run.checkpoints, run.identity())
    with Reporter(run.metrics, on_event) as report:
        return trainer.train(report)


class _Step(NamedTuple):
    """What one optimizer step came to; tensors, since reading them would wait for the device."""

    loss: Tensor
    grad_norm: Tensor
    lr: float


@dataclass(frozen=True)
class _Trainer:
    """The parts of a run, and what is done with them."""

    config: RunConfig
    tokenizer: Tokenizer
    data: TrainingData
    model: TTTModel
    optimizer: Optimizer
    checkpoints: Path
    identity: RunIdentity

    def train(self, report: Callable[[TrainEvent], None]) -> TrainResult:
        """Take every step, log, evaluate and save at their intervals and at the end."""
        settings = self.config.train
        tokens_per_step = settings.batch_size * self.config.model.max_seq_len
        throughput = Throughput()
        report(summarize_start(self.config, self.tokenizer, self.data, self.model))

        for step in range(1, settings.steps + 1):
            with throughput.measure(tokens_per_step):
                taken = self.take_step(step)
            if step in {1, settings.steps} or step % settings.log_every == 0:
                report(
                    StepRecord(
                        step=step,
                        loss=taken.loss.item(),
                        lr=taken.lr,
                        grad_norm=taken.grad_norm.item(),
                        tokens=step * tokens_per_step,
                        tokens_per_s=throughput.take(),
                    )
                )
            if step == settings.steps:
                break  # the end is evaluated and saved below, whatever the intervals
            if step % settings.eval_every == 0:
                report(self.evaluate(step))
            if step % settings.save_every == 0:
                report(self.save(step))

        validation = self.evaluate(settings.steps)
        report(validation)
        checkpoint = self.save(settings.steps)
        report(checkpoint)
        result = summarize_end(self.config, self.data, self.model, validation, checkpoint)
        report(result)
        return result

    def take_step(self, step: int) -> _Step:
        """Learn from the batch of one step."""
        settings = self.config.train
        batch = self.data.train.batch(step - 1)
        inputs, targets = self.to_device(batch.inputs), self.to_device(batch.targets)
        with autocast(inputs.device, settings.dtype):
            logits = self.model(inputs)
        loss = cross_entropy(logits, targets)
        loss.backward()
        grad_norm = clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
        # The one wait for the device: a bad gradient must not reach the parameters.
        if not (loss + grad_norm).isfinite():
            starts = ", ".join(map(str, self.data.train.samples(step - 1).start))
            raise NonFiniteError(
                f"step {step}: loss {loss.item()}, gradient norm {grad_norm.item()}, on the "
                f"windows from tokens {starts} of the training text; the parameters are those "
                f"after step {step - 1}. Try a lower --lr, a longer --warmup-steps or --dtype f32"
            )
        lr = learning_rate(step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        return _Step(loss.detach(), grad_norm, lr)

    def evaluate(self, step: int) -> EvalRecord:
        """Measure the model on the validation split."""
        found = evaluate(
            self.model,
            self.data.validation_batches(self.config.train.eval_batches),
            byte_lengths=self.tokenizer.byte_lengths(),
            dtype=self.config.train.dtype,
        )
        return EvalRecord(
            step=step,
            val_loss=found.loss,
            val_ppl=found.perplexity,
            val_bpb=found.bits_per_byte,
        )

    def save(self, step: int) -> CheckpointSaved:
        """Commit a checkpoint."""
        path = save_checkpoint(self.checkpoints, self.model, step=step, run=self.identity)
        return CheckpointSaved(step=step, path=str(path))

    def to_device(self, tokens: NDArray[np.int64]) -> Tensor:
        """Move token ids to where the model is."""
        return torch.from_numpy(tokens).to(device_of(self.model))
