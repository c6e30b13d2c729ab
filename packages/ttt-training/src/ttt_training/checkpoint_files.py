"""Which checkpoints a directory holds, and whether one is whole: all that needs no tensor."""

import re
import shlex
import shutil
from pathlib import Path

from ttt_config import CheckpointIncompleteError, CheckpointMismatchError
from ttt_training.manifest import Manifest, read_manifest, verify_files

MODEL_NAME = "model.safetensors"
_COMMITTED = re.compile(r"step-(\d{6,})")


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
    if MODEL_NAME not in manifest.files:
        raise CheckpointIncompleteError(f"{directory}: the manifest lists no {MODEL_NAME}")
    verify_files(directory, manifest)
    return manifest


def latest_checkpoint(checkpoints: Path) -> Path:
    """Find the committed checkpoint with the highest step; it is not verified here.

    Raises:
        CheckpointIncompleteError: the directory holds none.
    """
    found = committed_checkpoints(checkpoints)
    if not found:
        again = f"ttt train --resume auto --out {shlex.quote(str(checkpoints.parent))}"
        raise CheckpointIncompleteError(
            f"no checkpoint in {checkpoints}: the run stopped before its first save; "
            f"`{again}` begins it again"
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
