"""Typed configuration and the error tree of the ttt packages."""

from ttt_config.data import DataConfig
from ttt_config.dump import diff, dump
from ttt_config.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointIncompleteError,
    CheckpointMismatchError,
    ConfigError,
    DataError,
    HarnessError,
    IncompatibleError,
    InvalidValueError,
    LockHeldError,
    NonFiniteError,
    PreemptedError,
    RunFailedError,
    TokenizerError,
    TokenStoreCorruptError,
    TrainingError,
    TTTError,
    UnknownFieldError,
)
from ttt_config.harness import HarnessConfig
from ttt_config.inner import InnerConfig
from ttt_config.mix import MixPattern
from ttt_config.model import ModelConfig
from ttt_config.resolve import load, preset, resolve
from ttt_config.run import RunConfig
from ttt_config.schema import schema
from ttt_config.train import TrainConfig

__all__ = [
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointIncompleteError",
    "CheckpointMismatchError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "HarnessConfig",
    "HarnessError",
    "IncompatibleError",
    "InnerConfig",
    "InvalidValueError",
    "LockHeldError",
    "MixPattern",
    "ModelConfig",
    "NonFiniteError",
    "PreemptedError",
    "RunConfig",
    "RunFailedError",
    "TTTError",
    "TokenStoreCorruptError",
    "TokenizerError",
    "TrainConfig",
    "TrainingError",
    "UnknownFieldError",
    "diff",
    "dump",
    "load",
    "preset",
    "resolve",
    "schema",
]
