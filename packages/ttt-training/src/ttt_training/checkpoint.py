"""Training checkpoints: a directory that is whole or absent.

A checkpoint is written as `step-000100.tmp/`, made durable file by file, and then renamed to
`step-000100/`. The rename is the commit: a kill or a power cut before it leaves only a `.tmp`
directory, which no reader looks at and the next save sweeps away.
"""

import re
import shutil
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from ttt_config import CheckpointError, CheckpointIncompleteError, CheckpointMismatchError
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

_MODEL_NAME = "model.safetensors"
_COMMITTED = re.compile(r"step-(\d{6,})")


def save_checkpoint(checkpoints: Path, model: nn.Module, *, step: int, run: RunIdentity) -> Path:
    """Commit the model as the checkpoint of one step.

    Args:
        checkpoints: directory that holds the checkpoints of a run.
        model: its parameters and buffers are saved as they are, in their own dtypes.
        step: optimizer steps taken.
        run: the model configuration and tokenizer the tensors belong to (`RunDir.identity`).

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
        _sweep_unfinished(checkpoints)
        unfinished.mkdir()
        _write_tensors(unfinished / _MODEL_NAME, model.state_dict())
        manifest = Manifest(
            step=step,
            run=run,
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


def verify_checkpoint(directory: Path) -> Manifest:
    """Check every file of a checkpoint against its manifest, without reading a tensor.

    Raises:
        CheckpointIncompleteError: the manifest or a file it lists is missing or cut short.
        CheckpointCorruptError: a file is not what was written, or lies elsewhere.
    """
    manifest = read_manifest(directory)
    if _step_of(directory) not in {None, manifest.step}:
        raise CheckpointMismatchError(
            f"{directory} holds the checkpoint of step {manifest.step}; give it its name back"
        )
    if _MODEL_NAME not in manifest.files:
        raise CheckpointIncompleteError(f"{directory}: the manifest lists no {_MODEL_NAME}")
    verify_files(directory, manifest)
    return manifest


def load_checkpoint(directory: Path, model: nn.Module) -> Manifest:
    """Verify a checkpoint, then copy its tensors into a model.

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
    tensors = safetensors.torch.load_file(path)
    _check_fit(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return manifest


def latest_checkpoint(checkpoints: Path) -> Path:
    """Find the committed checkpoint with the highest step; it is not verified here.

    Raises:
        CheckpointIncompleteError: the directory holds none.
    """
    found = [path for path in checkpoints.glob("step-*") if _step_of(path) is not None]
    if not found:
        raise CheckpointIncompleteError(
            f"no checkpoint in {checkpoints}: the run stopped before its first save"
        )
    return max(found, key=lambda path: _step_of(path) or 0)


def remove_checkpoints(checkpoints: Path) -> None:
    """Remove every checkpoint, finished or not, and the directory if that leaves it empty."""
    if not checkpoints.is_dir():
        return
    for path in checkpoints.iterdir():
        if _step_of(path.with_suffix("")) is not None:
            shutil.rmtree(path)
    if not any(checkpoints.iterdir()):
        checkpoints.rmdir()


def _step_of(directory: Path) -> int | None:
    match = _COMMITTED.fullmatch(directory.name)
    return int(match[1]) if match else None


def _sweep_unfinished(checkpoints: Path) -> None:
    """Remove what killed saves left behind; a run has one writer, so none is in use."""
    for path in checkpoints.glob("step-*.tmp"):
        shutil.rmtree(path)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(on_cpu, path)


def _check_fit(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointMismatchError(f"{path} lacks {_some(missing)}; was the model changed?")
    if surplus := sorted(found.keys() - expected.keys()):
        raise CheckpointMismatchError(f"{path} has {_some(surplus)}, which the model has not")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise CheckpointMismatchError(
                f"{path}: `{name}` is {_describe(found[name])}; "
                f"the model expects {_describe(tensor)}"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"`{name}`" for name in names[:3]) + more


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {tensor.dtype}".replace("torch.", "")
