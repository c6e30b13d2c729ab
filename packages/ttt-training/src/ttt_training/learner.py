"""What learns in a run: the model, its optimizer and, in float16, the scale of the loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch.amp import GradScaler
from torch.optim import Optimizer

from ttt_config import IncompatibleError, TrainConfig
from ttt_layer import TTTModel
from ttt_training.device import device_of
from ttt_training.optim import build_optimizer


@dataclass(frozen=True)
class Learner:
    """Everything a training step changes.

    Attributes:
        model: on its device, in training mode.
        optimizer: of its parameters, their gradients None.
        scaler: multiplies the loss so that small gradients do not vanish in float16; disabled, and
            then without effect, in other arithmetic.
    """

    model: TTTModel
    optimizer: Optimizer
    scaler: GradScaler

    @classmethod
    def build(cls, model: TTTModel, settings: TrainConfig) -> "Learner":
        """Prepare a model for training as the settings say."""
        model.activation_checkpointing = settings.activation_checkpointing
        if settings.compile:
            for block in model.blocks:  # alike, so that one compilation serves all
                block.compile()
        scaler = GradScaler(device_of(model).type, enabled=settings.dtype == "f16")
        return cls(model, build_optimizer(model, settings), scaler)


@contextmanager
def explained_compilation(*, enabled: bool) -> Iterator[None]:
    """Say in one line that torch cannot compile here, as on a machine without a C++ compiler.

    Raises:
        IncompatibleError: the block failed in the compiler.
    """
    if not enabled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        reason = " ".join(str(error).strip().split("\n\n")[0].split())
        raise IncompatibleError(
            f"--compile: torch cannot compile the model here: {reason}; leave --compile out"
        ) from error
