"""Which checkpoints a run has, which are whole, and which are kept."""

import shutil
from math import inf
from pathlib import Path

import msgspec

from ttt_config import CheckpointError, CheckpointIncompleteError
from ttt_training.checkpoint_files import committed_checkpoints, step_of, verify_checkpoint
from ttt_training.durable import fsync
from ttt_training.manifest import read_manifest


class CheckpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, verified."""

    path: str
    step: int
    bytes: int
    """Of all its files."""
    val_loss: float | None = None
    """Nats a token, if the run was evaluated at this step."""
    problem: str | None = None
    """Why it cannot be used; None for one that is whole."""


def list_checkpoints(checkpoints: Path) -> list[CheckpointStatus]:
    """Verify every committed checkpoint of a run, in the order of their steps."""
    return [checkpoint_status(path) for path in committed_checkpoints(checkpoints)]


def newest_valid(checkpoints: Path) -> tuple[Path, list[CheckpointStatus]]:
    """Find the newest checkpoint that is whole.

    Returns:
        Its directory, and the newer ones that are not whole.

    Raises:
        CheckpointIncompleteError: there is none.
    """
    skipped: list[CheckpointStatus] = []
    for path in reversed(committed_checkpoints(checkpoints)):
        status = checkpoint_status(path)
        if status.problem is None:
            return path, skipped
        skipped.append(status)
    reasons = "".join(f"; {status.problem}" for status in skipped)
    raise CheckpointIncompleteError(f"no whole checkpoint in {checkpoints}{reasons}")


def prune_checkpoints(
    checkpoints: Path, *, keep_last: int, keep_every: int | None = None
) -> list[Path]:
    """Remove old checkpoints; kept are the newest, and the one with the lowest validation loss.

    Only checkpoints whose manifest is readable count, so damaged ones do not push out whole ones.

    Args:
        checkpoints: directory that holds the checkpoints of a run.
        keep_last: how many of the newest to keep, at least one.
        keep_every: keep those of every so many steps, too.

    Returns:
        The directories that were removed.

    Raises:
        CheckpointError: one could not be removed.
    """
    removed = removable_checkpoints(checkpoints, keep_last=keep_last, keep_every=keep_every)
    for path in removed:
        try:
            # Under this name no reader takes it for a checkpoint, should the removal be cut short.
            doomed = path.rename(path.with_name(f"{path.name}.tmp"))
            fsync(checkpoints)
            shutil.rmtree(doomed)
        except OSError as error:
            raise CheckpointError(f"cannot remove {path}: {error.strerror}") from error
    return removed


def removable_checkpoints(
    checkpoints: Path, *, keep_last: int, keep_every: int | None = None
) -> list[Path]:
    """Return the directories `prune_checkpoints` would remove."""
    losses = {
        path: loss
        for path in committed_checkpoints(checkpoints)
        if (loss := _recorded_loss(path)) is not None
    }
    kept = set(list(losses)[-max(1, keep_last) :])
    if any(loss < inf for loss in losses.values()):
        kept.add(min(losses, key=lambda path: losses[path]))
    if keep_every is not None:
        kept |= {path for path in losses if (step_of(path) or 0) % keep_every == 0}
    return [path for path in losses if path not in kept]


def best_checkpoint(checkpoints: Path) -> Path:
    """Find the checkpoint with the lowest recorded validation loss; it is not verified here.

    Raises:
        CheckpointIncompleteError: none was evaluated.
    """
    losses = {path: _recorded_loss(path) for path in committed_checkpoints(checkpoints)}
    evaluated = {path: loss for path, loss in losses.items() if loss is not None and loss < inf}
    if not evaluated:
        raise CheckpointIncompleteError(
            f"no checkpoint in {checkpoints} was evaluated; name one by its step"
        )
    return min(evaluated, key=lambda path: evaluated[path])


def checkpoint_status(path: Path) -> CheckpointStatus:
    """Verify one checkpoint."""
    num_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    step = step_of(path) or 0
    try:
        manifest = verify_checkpoint(path)
    except (CheckpointError, OSError) as error:
        return CheckpointStatus(path=str(path), step=step, bytes=num_bytes, problem=str(error))
    return CheckpointStatus(path=str(path), step=step, bytes=num_bytes, val_loss=manifest.val_loss)


def _recorded_loss(path: Path) -> float | None:
    """The validation loss in a manifest, infinite if it has none; None if it cannot be read."""
    try:
        loss = read_manifest(path).val_loss
    except (CheckpointError, OSError):
        return None
    return inf if loss is None else loss
