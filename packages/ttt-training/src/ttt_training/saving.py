"""Saving a run while it goes on."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttt_config import CheckpointError
from ttt_data import Loader
from ttt_training.checkpoint import checkpoint_bytes, save_checkpoint
from ttt_training.events import CheckpointSaved, RunWarning, TrainEvent
from ttt_training.learner import Learner
from ttt_training.manifest import RunIdentity
from ttt_training.retention import prune_checkpoints


@dataclass(frozen=True)
class Saver:
    """Writes the checkpoints of a run and removes those that need not be kept.

    Attributes:
        checkpoints: directory that holds them.
        identity: of the run.
        learner: what is saved.
        data: whose place is saved with it.
        keep_last: how many of the newest stay.
        report: told of each checkpoint, and of what stands in its way.
    """

    checkpoints: Path
    identity: RunIdentity
    learner: Learner
    data: Loader
    keep_last: int
    report: Callable[[TrainEvent], None]

    def try_save(self, step: int, val_loss: float | None) -> None:
        """Save, or warn that it cannot be done and go on without; arguments as `save`."""
        try:
            self.save(step, val_loss)
        except CheckpointError as error:
            self.report(RunWarning(step=step, message=f"{error}; the run goes on without it"))

    def save(self, step: int, val_loss: float | None) -> Path:
        """Commit the checkpoint of a step.

        Args:
            step: optimizer steps taken.
            val_loss: of the model as it is, if it was evaluated; nats a token.

        Raises:
            CheckpointError: the disk refused it; earlier checkpoints are as they were.
        """
        model, optimizer = self.learner.model, self.learner.optimizer
        needed = checkpoint_bytes(model, optimizer)
        free = shutil.disk_usage(self.checkpoints.parent).free
        if free < needed:
            message = f"a checkpoint takes {needed:,} bytes and {free:,} are free: make room"
            self.report(RunWarning(step=step, message=message))
        path = save_checkpoint(
            self.checkpoints,
            model,
            step=step,
            run=self.identity,
            optimizer=optimizer,
            scaler=self.learner.scaler,
            place=self.data.state(step),
            val_loss=val_loss,
        )
        self.report(CheckpointSaved(step=step, path=str(path)))
        prune_checkpoints(self.checkpoints, keep_last=self.keep_last)
        return path
