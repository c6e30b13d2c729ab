"""Opening a finished or running run from its directory alone."""

import shlex
from pathlib import Path

from ttt_config import CheckpointCorruptError, CheckpointIncompleteError, RunConfig, resolve
from ttt_config.layer import Layer, file_layer
from ttt_core import choose_kernels
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.build import build_model
from ttt_training.checkpoint import load_checkpoint
from ttt_training.checkpoint_files import committed_checkpoints, latest_checkpoint
from ttt_training.device import default_device
from ttt_training.retention import best_checkpoint
from ttt_training.run_dir import check_identity, find_run


def checkpoint_path(run: str | Path, name: str) -> Path:
    """Find a checkpoint of a run by its step, by its name, or as `latest` or `best`.

    Raises:
        CheckpointIncompleteError: the run has no such checkpoint.
    """
    checkpoints = Path(run) / "checkpoints"
    if name == "latest":
        return latest_checkpoint(checkpoints)
    if name == "best":
        return best_checkpoint(checkpoints)
    wanted = f"step-{int(name):06d}" if name.isdecimal() else name
    found = {path.name: path for path in committed_checkpoints(checkpoints)}
    if wanted in found:
        return found[wanted]
    if not found:
        raise CheckpointIncompleteError(f"--checkpoint {name}: no checkpoint in {run}")
    raise CheckpointIncompleteError(
        f"--checkpoint {name}: {run} has no {wanted}; it has {', '.join(found)}"
    )


def load_run(
    path: str | Path, *, kernel: str | None = None
) -> tuple[TTTModel, Tokenizer, RunConfig]:
    """Load the model, tokenizer and configuration of a run.

    Args:
        path: a run directory, for its latest checkpoint, or one of its checkpoint directories.
            It may have been moved since it was written.
        kernel: a name of `ttt_kernels.available_kernels()`, or "auto", to compute the inner loop in
            the place of what it was trained with.

    Returns:
        The model in evaluation mode on the default device, the tokenizer, the configuration.

    Raises:
        CheckpointIncompleteError: no run is there, or a file of it is missing.
        CheckpointCorruptError: a file of the checkpoint is damaged.
        ConfigError: config.toml cannot be read.
        CheckpointMismatchError: config.toml or tokenizer.json is not the one trained with.
        KernelUnavailableError: the kernel named, here or in training, cannot run here.
    """
    run, checkpoint = find_run(Path(path))
    checkpoint = checkpoint or latest_checkpoint(run.checkpoints)
    layers = [file_layer(run.config)]
    if kernel is not None:
        layers.append(Layer("--kernel", {"model": {"inner": {"kernel": kernel}}}))
    config = resolve(*layers).config
    check_identity(run, checkpoint)
    choose_kernels(config.model, default_device().type)
    tokenizer = Tokenizer.load(str(run.tokenizer))
    model = build_model(config)
    try:
        load_checkpoint(checkpoint, model)
    except (CheckpointIncompleteError, CheckpointCorruptError) as error:
        raise type(error)(
            f"{error}; restore it or take another checkpoint: "
            f"`ttt ckpt ls {shlex.quote(str(run.path))}`"
        ) from error
    return model.to(default_device()).eval(), tokenizer, config
