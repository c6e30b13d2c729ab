"""What a run will do and take, without doing it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from ttt_config import RunConfig
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.build import fit_vocabulary
from ttt_training.data import adopt_tokenizer, load_data
from ttt_training.device import autocast, default_device
from ttt_training.length import fit_length, tokens_per_step
from ttt_training.loss import chunk_rows, cross_entropy
from ttt_training.summary import describe_kernel

_ADAMW_MOMENTS = 2
_SCORES = 2
_F32_BYTES = 4


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes a training step holds at its peak; libraries and caches come on top."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    """Kept from the forward for the backward pass, of one micro-batch; the gradient of the head,
    which is computed with the loss, is part of it."""
    scores: int
    """Of one chunk of tokens, with their log-probabilities."""

    @property
    def total(self) -> int:
        """All of it."""
        return sum(msgspec.structs.astuple(self))


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was not begun."""

    parameters: int
    """Numbers in the model."""
    kernel: str
    """Which computes the inner loop, and why."""
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
        KernelUnavailableError: `model.inner.kernel` cannot run here; raised before data is read.
        DataError: the text or the tokenizer cannot be read, or the text is too short.
    """
    kernel = describe_kernel(config.model, default_device().type)
    config = adopt_tokenizer(config)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    config = fit_vocabulary(config, tokenizer)
    data = load_data(config, tokenizer)
    config = fit_length(config, data.train)
    memory = estimate_memory(config)
    windows = config.train.steps * data.train.global_batch_size
    return DryRun(
        parameters=memory.parameters // _F32_BYTES,
        kernel=kernel,
        steps=config.train.steps,
        tokens_per_step=tokens_per_step(config),
        tokens=config.train.steps * tokens_per_step(config),
        epochs=windows / data.train.num_windows,
        memory=memory,
        memory_bytes=memory.total,
        checkpoint_bytes=(1 + _ADAMW_MOMENTS) * memory.parameters,
        free_disk_bytes=shutil.disk_usage(existing_parent(Path(config.out).absolute())).free,
    )


def estimate_memory(config: RunConfig) -> MemoryEstimate:
    """Count the bytes of a training step by running it on tensors without values.

    Args:
        config: with `model.vocab_size`.
    """
    rows, length = config.train.batch_size, config.model.max_seq_len
    device = default_device()
    kept = _KeptTensors()
    with FakeTensorMode(), device:
        model = TTTModel(config.model)
        own = {each.untyped_storage()._cdata for each in model.parameters()}
        kept.follow(model)
        ids = torch.zeros(rows, length, dtype=torch.long)
        keeping = torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor)
        with keeping, autocast(device, config.train.dtype):
            hidden, _ = model.hidden(ids)
            cross_entropy(hidden, model.head, ids)
        parameters = sum(each.untyped_storage().nbytes() for each in model.parameters())
        sizes = kept.bytes_by_block(without=own)
    activations = sum(sizes.values())
    vocab_size = model.vocab_size
    scores = min(rows * length, chunk_rows(vocab_size, device)) * vocab_size
    if config.train.activation_checkpointing:
        blocks = [size for block, size in sizes.items() if block is not None]
        stream = rows * length * config.model.hidden_size * _F32_BYTES
        activations += max(blocks) - sum(blocks) + len(blocks) * stream
    return MemoryEstimate(
        parameters=parameters,
        gradients=parameters,
        optimizer=_ADAMW_MOMENTS * parameters,
        activations=activations,
        scores=_SCORES * scores * _F32_BYTES,
    )


def checkpoint_bytes(config: RunConfig) -> int:
    """Size one checkpoint of a run, by its model without values.

    Raises:
        ConfigError: values of the configuration do not fit together.
        DataError: the tokenizer cannot be read.
    """
    config = adopt_tokenizer(config)
    config = fit_vocabulary(config, Tokenizer.load(config.data.tokenizer))
    with torch.device("meta"), _NothingDrawn():
        model = TTTModel(config.model)
    numbers = sum(each.numel() for each in model.parameters())
    return (1 + _ADAMW_MOMENTS) * numbers * _F32_BYTES


def existing_parent(path: Path) -> Path:
    """The path if it is there, else the nearest folder above that is."""
    return next(each for each in (path, *path.parents) if each.exists())


class _NothingDrawn(TorchFunctionMode):
    """No random values for tensors without memory: torch would import its compiler for them."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        del types
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


class _KeptTensors:
    """The storages autograd keeps, by the block that computed them."""

    def __init__(self) -> None:
        self._block: int | None = None
        self._kept: dict[int, tuple[Tensor, int | None]] = {}

    def follow(self, model: TTTModel) -> None:
        """Note which block is running; None outside of all."""
        for number, block in enumerate(model.blocks):
            block.register_forward_pre_hook(lambda *_, now=number: self._enter(now))
            block.register_forward_hook(lambda *_: self._enter(None))

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor; views of one storage count once."""
        self._kept.setdefault(tensor.untyped_storage()._cdata, (tensor, self._block))
        return tensor

    def bytes_by_block(self, without: set[int]) -> dict[int | None, int]:
        """Sum up what is kept, but for some storages."""
        sizes: dict[int | None, int] = {}
        for storage, (tensor, block) in self._kept.items():
            if storage not in without:
                sizes[block] = sizes.get(block, 0) + tensor.untyped_storage().nbytes()
        return sizes

    def _enter(self, block: int | None) -> None:
        self._block = block
