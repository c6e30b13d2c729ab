from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config import RunConfig, resolve
from ttt_training import train

SHAPE = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 48,
    "max_seq_len": 32,
}
TRAIN = {"steps": 6, "batch_size": 4, "warmup_steps": 2, "lr": 1e-2, "eval_samples": 8}
DATA = {"tokenizer": "bytes", "documents": 4}

ConfigMaker = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def tiny() -> ConfigMaker:
    """Make the configuration of a run of a second, with other values by their flags' names."""

    def make(out: Path, **values: object) -> RunConfig:
        base = {"model": SHAPE, "train": TRAIN, "data": DATA, "out": str(out)}
        return resolve(("tiny", base), ("test", values)).config

    return make


@pytest.fixture(scope="session")
def finished_run(tiny: ConfigMaker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with checkpoints of steps 3 and 6; copy it to change it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny(out, save_every=3))
    return out
