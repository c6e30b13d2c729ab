"""Training checkpoints: a directory that is whole or absent.

    step-000100/
    |-- model.safetensors   parameters and buffers
    |-- optim.safetensors   AdamW's moments and step counts, by parameter; in f16 the loss scale
    |-- rng.safetensors     torch's random generators
    |-- loader.json         the place in the data
    `-- manifest.json       size and SHA-256 of each, and what they belong to; written last

A checkpoint is written as `step-000100.tmp/`, made durable file by file, and then renamed to
`step-000100/`. The rename is the commit: a kill or a power cut before it leaves only a `.tmp`
directory, which no reader looks at and the next save sweeps away.
"""

import shutil
from importlib.metadata import version
from pathlib import Path

import msgspec
import safetensors
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from ttt_config import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointIncompleteError,
    DataError,
)
from ttt_data import LoaderState
from ttt_training.checkpoint_files import MODEL_NAME, sweep_unfinished, verify_checkpoint
from ttt_training.durable import fsync
from ttt_training.manifest import (
    MANIFEST_NAME,
    Manifest,
    RunIdentity,
    encode_manifest,
    hash_file,
)
from ttt_training.optimizer_state import optimizer_tensors, restore_optimizer
from ttt_training.tensors import check_fit, read_tensors, write_tensors

_OPTIM_NAME = "optim.safetensors"
_RNG_NAME = "rng.safetensors"
_LOADER_NAME = "loader.json"
_VERSIONED = ("ttt-training", "torch")


def save_checkpoint(
    checkpoints: Path,
    model: nn.Module,
    *,
    step: int,
    run: RunIdentity,
    optimizer: Optimizer | None = None,
    scaler: GradScaler | None = None,
    place: LoaderState | None = None,
    val_loss: float | None = None,
) -> Path:
    """Commit the state of a run as the checkpoint of one step.

    Args:
        checkpoints: directory that holds the checkpoints of a run.
        model: its parameters and buffers are saved as they are, in their own dtypes.
        step: optimizer steps taken.
        run: the model configuration and tokenizer the tensors belong to (`RunDir.identity`).
        optimizer: of the model's parameters. Without it and the place training cannot go on from
            the checkpoint.
        scaler: of the loss, saved with the optimizer.
        place: before the batch of the next step.
        val_loss: of the model, if it was evaluated at this step; nats a token.

    Returns:
        The committed directory.

    Raises:
        CheckpointError: the step has a checkpoint already, or the disk refused the write.
    """
    committed = checkpoints / f"step-{step:06d}"
    if committed.exists():
        raise CheckpointError(f"{committed} exists already; a checkpoint is never written twice")
    unfinished = checkpoints / f"{committed.name}.tmp"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        sweep_unfinished(checkpoints)
        unfinished.mkdir()
        write_tensors(unfinished / MODEL_NAME, model.state_dict())
        if optimizer is not None and place is not None:
            write_tensors(unfinished / _OPTIM_NAME, optimizer_tensors(model, optimizer, scaler))
            write_tensors(unfinished / _RNG_NAME, _generators())
            (unfinished / _LOADER_NAME).write_bytes(msgspec.json.encode(place))
        manifest = Manifest(
            step=step,
            run=run,
            val_loss=val_loss,
            versions={package: version(package) for package in _VERSIONED},
            files={path.name: hash_file(path) for path in sorted(unfinished.iterdir())},
        )
        (unfinished / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
        for path in unfinished.iterdir():
            fsync(path)
        fsync(unfinished)
        unfinished.rename(committed)
        fsync(checkpoints)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CheckpointError(f"could not write {committed}: {error}") from error
    return committed


def checkpoint_bytes(model: nn.Module, optimizer: Optimizer) -> int:
    """Return how much room the tensors of a checkpoint take, about."""
    tensors = [*model.state_dict().values(), *optimizer_tensors(model, optimizer).values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def load_checkpoint(directory: Path, model: nn.Module) -> Manifest:
    """Verify a checkpoint, then copy its parameters into a model.

    The model changes only if everything fits: no failure leaves it half loaded.

    Args:
        directory: a committed checkpoint directory.
        model: receives the values, on the device it is on.

    Raises:
        CheckpointIncompleteError: the manifest or a file it lists is missing or cut short.
        CheckpointCorruptError: a file is not what was written, or lies elsewhere.
        CheckpointMismatchError: the tensors are not those of `model`.
    """
    manifest = verify_checkpoint(directory)
    path = directory / MODEL_NAME
    tensors = read_tensors(path)
    check_fit(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return manifest


def load_training_state(
    directory: Path, model: nn.Module, optimizer: Optimizer, scaler: GradScaler | None = None
) -> LoaderState:
    """Give an optimizer, a scaler and torch's random generators their state; return the place.

    Call it after `load_checkpoint`, which verifies the files.

    Raises:
        CheckpointIncompleteError: the checkpoint holds parameters only.
        CheckpointCorruptError: the place cannot be read.
        CheckpointMismatchError: the tensors are not those of this optimizer.
    """
    if not (directory / _OPTIM_NAME).is_file():
        raise CheckpointIncompleteError(
            f"{directory} holds parameters only: training cannot go on from it"
        )
    moments = read_tensors(directory / _OPTIM_NAME)
    try:
        place = LoaderState.from_dict(
            msgspec.json.decode((directory / _LOADER_NAME).read_bytes(), type=dict)
        )
    except (OSError, msgspec.DecodeError, DataError) as error:
        raise CheckpointCorruptError(f"{directory / _LOADER_NAME} is damaged: {error}") from error
    restore_optimizer(directory / _OPTIM_NAME, moments, model, optimizer, scaler)
    _restore_generators(read_tensors(directory / _RNG_NAME))
    return place


def _generators() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda.{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for number in range(torch.cuda.device_count()):
        if (state := states.get(f"cuda.{number}")) is not None:
            torch.cuda.set_rng_state(state, number)
