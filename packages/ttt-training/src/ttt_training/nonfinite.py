"""What a run does when a loss or a gradient is not a number."""

from dataclasses import dataclass
from pathlib import Path

from ttt_config import CheckpointError, NonFiniteError, TrainConfig
from ttt_training.checkpoint import load_checkpoint, load_training_state
from ttt_training.learner import Learner
from ttt_training.retention import newest_valid

_MOST_IN_A_ROW = 10
"""Steps left out, one after the other, before a run gives up."""
_MOST_ROLLBACKS = 3
"""Times a run goes back to one checkpoint before it gives up."""


@dataclass
class NonFinitePolicy:
    """Stops a run, leaves the step out, or goes back to the last checkpoint.

    `rollback` restores parameters and optimizer but neither the step nor the place in the text:
    the batches since the checkpoint are left out with the bad one, as Chowdhery et al. 2022, 5.1
    did for PaLM. A run that is killed and resumed does the same again.

    Attributes:
        settings: of the run.
        checkpoints: of the run.
    """

    settings: TrainConfig
    checkpoints: Path
    _in_a_row: int = 0
    _rollbacks: int = 0
    _last: Path | None = None

    def note_good_step(self) -> None:
        """The step was fine."""
        self._in_a_row = 0

    def handle(self, learner: Learner, problem: str, *, step: int) -> str:
        """Make the learner fit to go on with the next step.

        Args:
            learner: as before the bad step.
            problem: what was not finite, and where.
            step: number of the bad step, from 1.

        Returns:
            What was done, for people.

        Raises:
            NonFiniteError: the run is to stop, or there is no use in going on.
        """
        if self.settings.on_nonfinite == "stop":
            raise NonFiniteError(
                f"{problem}; the parameters are those after step {step - 1}. Try a lower --lr, a "
                "longer --warmup-steps, --dtype f32, or --on-nonfinite skip or rollback"
            )
        self._in_a_row += 1
        if self._in_a_row > _MOST_IN_A_ROW:
            raise NonFiniteError(f"{problem}; {_MOST_IN_A_ROW} steps before it were left out, too")
        if self.settings.on_nonfinite == "skip":
            return f"{problem}; the step is left out"
        return f"{problem}; {self._roll_back(learner, problem)}"

    def _roll_back(self, learner: Learner, problem: str) -> str:
        try:
            checkpoint, _ = newest_valid(self.checkpoints)
        except CheckpointError as error:
            raise NonFiniteError(f"{problem}; cannot roll back: {error}") from error
        self._rollbacks = self._rollbacks + 1 if checkpoint == self._last else 1
        self._last = checkpoint
        if self._rollbacks > _MOST_ROLLBACKS:
            raise NonFiniteError(
                f"{problem}; the run was rolled back to {checkpoint} {_MOST_ROLLBACKS} times before"
            )
        load_checkpoint(checkpoint, learner.model)
        load_training_state(checkpoint, learner.model, learner.optimizer, learner.scaler)
        return f"the run goes on from {checkpoint.name} with the batches after this one"
