"""What a run will do and take, without doing it."""

import shutil
from pathlib import Path

import msgspec
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ttt_config import RunConfig
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.build import fit_vocabulary
from ttt_training.data import adopt_tokenizer, load_data
from ttt_training.device import autocast, default_device
from ttt_training.length import fit_length, tokens_per_step
from ttt_training.loss import cross_entropy

_ADAMW_MOMENTS = 2
_F32_BYTES = 4


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a training step holds at its peak; libraries and caches come on top."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    """Kept from the forward for the backward pass, of one micro-batch."""
    logits_gradient: int
    """Of the scores, the largest thing the backward pass makes."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(msgspec.structs.astuple(self))


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was not begun."""

    parameters: int
    """Numbers in the model."""
    steps: int
    tokens_per_step: int
    tokens: int
    """Read in all."""
    epochs: float
    """Passes over the training text."""
    memory: MemoryEstimate
    memory_bytes: int
    """Sum of the estimate."""
    checkpoint_bytes: int
    """Of one checkpoint; `train.keep_last` of them and that of the lowest loss are kept."""
    free_disk_bytes: int
    """Where the run would be written."""


def dry_run(config: RunConfig) -> DryRun:
    """Read the data, plan the run and estimate its memory; nothing is written.

    Raises:
        ConfigError: values of the configuration do not fit together.
        DataError: the text or the tokenizer cannot be read, or the text is too short.
    """
    config = adopt_tokenizer(config)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    config = fit_vocabulary(config, tokenizer)
    data = load_data(config, tokenizer)
    config = fit_length(config, data.train)
    memory = estimate_memory(config)
    windows = config.train.steps * data.train.global_batch_size
    return DryRun(
        parameters=memory.parameters // _F32_BYTES,
        steps=config.train.steps,
        tokens_per_step=tokens_per_step(config),
        tokens=config.train.steps * tokens_per_step(config),
        epochs=windows / data.train.num_windows,
        memory=memory,
        memory_bytes=memory.total,
        checkpoint_bytes=memory.parameters + memory.optimizer,
        free_disk_bytes=shutil.disk_usage(_existing(Path(config.out).absolute())).free,
    )


def estimate_memory(config: RunConfig) -> MemoryEstimate:
    """Count the bytes of a training step by running it on tensors without values.

    Args:
        config: with `model.vocab_size`.
    """
    rows, length = config.train.batch_size, config.model.max_seq_len
    device = default_device()
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # views of one storage count once
        return tensor

    with FakeTensorMode(), device:
        model = TTTModel(config.model)
        own = {each.untyped_storage()._cdata for each in model.parameters()}
        ids = torch.zeros(rows, length, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with autocast(device, config.train.dtype):
                logits = model(ids)
            cross_entropy(logits, ids)
        parameters = sum(each.untyped_storage().nbytes() for each in model.parameters())
        activations = sum(
            tensor.untyped_storage().nbytes() for name, tensor in kept.items() if name not in own
        )
        scores = logits.numel() * _F32_BYTES
    return MemoryEstimate(
        parameters=parameters,
        gradients=parameters,
        optimizer=_ADAMW_MOMENTS * parameters,
        activations=activations,
        logits_gradient=scores,
    )


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
