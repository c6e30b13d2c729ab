"""The directory a run writes: all that generation and evaluation need, wherever it is moved.

config.toml      the configuration with every value resolved
run.json         versions, hardware, seed and command
tokenizer.json   the tokenizer itself
metrics.jsonl    one record a logged step or evaluation
events.jsonl     what else happened, and when: starts, checkpoints, warnings, signals
tensorboard/     event files, if `train.log_to` asks for them (`ttt_training.sinks`)
checkpoints/     step-000100/, ... (`ttt_training.checkpoint`)
"""

import hashlib
import json
import os
import platform
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ttt_config import (
    CheckpointIncompleteError,
    CheckpointMismatchError,
    ConfigError,
    RunConfig,
    dump,
)
from ttt_training.checkpoint_files import remove_checkpoints
from ttt_training.durable import write_durably
from ttt_training.manifest import RunIdentity, read_manifest

if TYPE_CHECKING:
    import torch

    from ttt_data import Tokenizer

_PACKAGES = ("ttt-training", "ttt-layer", "ttt-data", "torch", "numpy", "tokenizers", "safetensors")


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json tells: enough to say on what a figure was obtained."""

    started: str
    """ISO 8601, UTC."""
    command: list[str]
    seed: int
    python: str
    versions: dict[str, str]
    platform: str
    device: str


class RunDir:
    """Paths of one run directory, and the rules for beginning one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.info = path / "run.json"
        self.tokenizer = path / "tokenizer.json"
        self.metrics = path / "metrics.jsonl"
        self.events = path / "events.jsonl"
        self.tensorboard = path / "tensorboard"
        self.checkpoints = path / "checkpoints"

    @property
    def _contents(self) -> tuple[Path, ...]:
        return (
            *(self.config, self.info, self.tokenizer, self.metrics, self.events),
            *(self.tensorboard, self.checkpoints),
        )

    def check_free(self, *, overwrite: bool) -> None:
        """Make sure that a run may begin here, without changing anything.

        Raises:
            ConfigError: the path cannot be written or is a file, or the directory holds a run (or
                files of other origin under the names of a run's) and `overwrite` does not cover it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"`out`: {self.path} is a file; choose another with --out OTHER")
        self._check_writable()
        taken = next((path for path in self._contents if path.exists()), None)
        if taken is None:
            return
        if not self.info.is_file():
            raise ConfigError(
                f"`out`: {self.path} holds a {taken.name} that no run wrote; "
                "choose another directory with --out OTHER"
            )
        if not overwrite:
            raise ConfigError(
                f"`out`: {self.path} holds a run already; "
                "choose another directory with --out OTHER or replace the run with --overwrite"
            )

    def _check_writable(self) -> None:
        whole = self.path.absolute()
        nearest = next(path for path in (whole, *whole.parents) if path.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
            raise ConfigError(
                f"`out`: cannot write {self.path}: {nearest} is not a writable directory; choose "
                "another with --out OTHER"
            )

    def create(
        self, config: RunConfig, tokenizer: "Tokenizer", device: "torch.device", *, overwrite: bool
    ) -> None:
        """Begin a run: write all but metrics and checkpoints.

        With `overwrite` the files of an earlier run go first; any other file stays.

        Raises:
            ConfigError: as `check_free`.
        """
        self.check_free(overwrite=overwrite)
        self._clear()
        self.path.mkdir(parents=True, exist_ok=True)
        # run.json first: it marks the directory as a run's, so that --overwrite can clear it.
        write_durably(self.info, msgspec.json.format(msgspec.json.encode(_info(config, device))))
        write_durably(self.config, dump(config).encode())
        write_durably(self.tokenizer, tokenizer.to_json().encode())

    def identity(self) -> RunIdentity:
        """Hash what the tensors of this run's checkpoints depend on, from the files here.

        Of the configuration only the table `model` counts: a run may go on with other settings
        of training, but not with another model. It is taken as written, not as understood, so a
        field added by a later version of ttt changes no hash.
        """
        model = tomllib.loads(self.config.read_text()).get("model")
        return RunIdentity(
            model_config_sha256=_sha256(json.dumps(model, sort_keys=True).encode()),
            tokenizer_sha256=_sha256(self.tokenizer.read_bytes()),
        )

    def _clear(self) -> None:
        if not self.info.is_file():
            return
        remove_checkpoints(self.checkpoints)
        for path in self.tensorboard.glob("events.out.tfevents.*"):
            path.unlink()
        if self.tensorboard.is_dir() and not any(self.tensorboard.iterdir()):
            self.tensorboard.rmdir()
        for path in (
            self.config,
            self.tokenizer,
            self.metrics,
            self.events,
            self.info,
        ):  # the mark goes last
            path.unlink(missing_ok=True)


def find_run(path: Path) -> tuple[RunDir, Path | None]:
    """Find the run a path means: a run directory, or one of its checkpoint directories.

    Returns:
        The run, and the checkpoint if the path was that of one.

    Raises:
        CheckpointIncompleteError: there is no such directory, it is neither, or the run lacks a
            file.
    """
    path = path.resolve()
    if not path.is_dir():
        raise CheckpointIncompleteError(f"no run directory {path}; `ttt train --out` writes one")
    if path.parent.name == "checkpoints" and not (path / "config.toml").exists():
        run, checkpoint = RunDir(path.parent.parent), path
    else:
        run, checkpoint = RunDir(path), None
    if not (run.config.exists() or run.checkpoints.exists()):
        raise CheckpointIncompleteError(
            f"{path} is not a run directory: expected config.toml, tokenizer.json and checkpoints/"
        )
    for needed in (run.config, run.tokenizer):
        if not needed.is_file():
            raise CheckpointIncompleteError(f"{needed} is missing; the run is not complete")
    return run, checkpoint


def check_identity(run: RunDir, checkpoint: Path) -> None:
    """Make sure that a checkpoint belongs to the configuration and tokenizer beside it.

    Raises:
        CheckpointMismatchError: it does not.
    """
    trained, found = read_manifest(checkpoint).run, run.identity()
    if trained.model_config_sha256 != found.model_config_sha256:
        raise CheckpointMismatchError(
            f"{run.config}: the table `model` is not the one {checkpoint.name} was trained with; "
            "restore it"
        )
    if trained.tokenizer_sha256 != found.tokenizer_sha256:
        raise CheckpointMismatchError(
            f"{run.tokenizer} is not the one {checkpoint.name} was trained with; restore it"
        )


def _info(config: RunConfig, device: "torch.device") -> RunInfo:
    from ttt_training.device import describe_device  # not above: it imports torch

    return RunInfo(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=sys.argv,
        seed=config.train.seed,
        python=platform.python_version(),
        versions={package: version(package) for package in _PACKAGES},
        platform=platform.platform(),
        device=describe_device(device),
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
