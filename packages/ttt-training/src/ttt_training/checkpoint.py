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

import re
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
    CheckpointMismatchError,
    DataError,
)
from ttt_data import LoaderState
from ttt_training.durable import fsync
from ttt_training.manifest import (
    MANIFEST_NAME,
    Manifest,
    RunIdentity,
    encode_manifest,
    hash_file,
    read_manifest,
    verify_files,
)
from ttt_training.optimizer_state import optimizer_tensors, restore_optimizer
from ttt_training.tensors import check_fit, read_tensors, write_tensors

_MODEL_NAME = "model.safetensors"
_OPTIM_NAME = "optim.safetensors"
_RNG_NAME = "rng.safetensors"
_LOADER_NAME = "loader.json"
_COMMITTED = re.compile(r"step-(\d{6,})")
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
        write_tensors(unfinished / _MODEL_NAME, model.state_dict())
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


def verify_checkpoint(directory: Path) -> Manifest:
    """Check every file of a checkpoint against its manifest, without reading a tensor.

    Raises:
        CheckpointIncompleteError: the manifest or a file it lists is missing or cut short.
        CheckpointCorruptError: a file is not what was written, or lies elsewhere.
        CheckpointMismatchError: it is of another format, or of another step than its name says.
    """
    manifest = read_manifest(directory)
    if step_of(directory) not in {None, manifest.step}:
        raise CheckpointMismatchError(
            f"{directory} holds the checkpoint of step {manifest.step}; give it its name back"
        )
    if _MODEL_NAME not in manifest.files:
        raise CheckpointIncompleteError(f"{directory}: the manifest lists no {_MODEL_NAME}")
    verify_files(directory, manifest)
    return manifest


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
    path = directory / _MODEL_NAME
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


def latest_checkpoint(checkpoints: Path) -> Path:
    """Find the committed checkpoint with the highest step; it is not verified here.

    Raises:
        CheckpointIncompleteError: the directory holds none.
    """
    found = committed_checkpoints(checkpoints)
    if not found:
        raise CheckpointIncompleteError(
            f"no checkpoint in {checkpoints}: the run stopped before its first save"
        )
    return found[-1]


def committed_checkpoints(checkpoints: Path) -> list[Path]:
    """List the committed checkpoints in the order of their steps, none of them verified."""
    found = [path for path in checkpoints.glob("step-*") if step_of(path) is not None]
    return sorted(found, key=lambda path: step_of(path) or 0)


def remove_checkpoints(checkpoints: Path) -> None:
    """Remove every checkpoint, finished or not, and the directory if that leaves it empty."""
    if not checkpoints.is_dir():
        return
    for path in checkpoints.iterdir():
        if step_of(path.with_suffix("")) is not None:
            shutil.rmtree(path)
    if not any(checkpoints.iterdir()):
        checkpoints.rmdir()


def step_of(directory: Path) -> int | None:
    """The step in the name of a committed checkpoint; None for any other name."""
    match = _COMMITTED.fullmatch(directory.name)
    return int(match[1]) if match else None


def sweep_unfinished(checkpoints: Path) -> None:
    """Remove what killed saves left behind; a run has one writer, so none is in use."""
    for path in checkpoints.glob("step-*.tmp"):
        shutil.rmtree(path)


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
