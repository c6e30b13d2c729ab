"""Opening a finished or running run from its directory alone."""

from pathlib import Path

from ttt_config import RunConfig, load
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training.build import build_model
from ttt_training.checkpoint import latest_checkpoint, load_checkpoint
from ttt_training.device import default_device
from ttt_training.run_dir import check_identity, find_run


def load_run(path: str | Path) -> tuple[TTTModel, Tokenizer, RunConfig]:
    """Load the model, tokenizer and configuration of a run.

    Args:
        path: a run directory, for its latest checkpoint, or one of its checkpoint directories.
            It may have been moved since it was written.

    Returns:
        The model in evaluation mode on the default device, the tokenizer, the configuration.

    Raises:
        CheckpointIncompleteError: no run is there, or a file of it is missing.
        CheckpointCorruptError: a file of the checkpoint is damaged.
        ConfigError: config.toml cannot be read.
        CheckpointMismatchError: config.toml or tokenizer.json is not the one trained with.
    """
    run, checkpoint = find_run(Path(path))
    checkpoint = checkpoint or latest_checkpoint(run.checkpoints)
    config = load(run.config)
    check_identity(run, checkpoint)
    tokenizer = Tokenizer.load(str(run.tokenizer))
    model = build_model(config)
    load_checkpoint(checkpoint, model)
    return model.to(default_device()).eval(), tokenizer, config
