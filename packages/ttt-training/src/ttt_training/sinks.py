"""Where a run's numbers go besides metrics.jsonl: TensorBoard, trackio or Weights & Biases.

tensorboard  event files in `tensorboard/` of the run directory; `tensorboard --logdir runs`
trackio      the local database of trackio, project `ttt`; `trackio show`
wandb        offline files in `wandb/` of the run directory, for `wandb sync`; `WANDB_MODE=online`
             sends them at once

Each is a view of what metrics.jsonl holds: none is needed to go on with a run or to judge it, and
none can end one.
"""

import hashlib
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from io import FileIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from ttt_config import ConfigError, RunConfig, dump
from ttt_training.events import EvalRecord, StepRecord, TrainEvent
from ttt_training.run_dir import RunDir

PROJECT = "ttt"
"""Under which trackio and wandb file the runs."""

_NAMES = {"val_ppl": "val/perplexity", "val_bpb": "val/bits_per_byte"}
"""Of scalars whose field is a short form."""


class Sink(Protocol):
    """Takes scalars. Any call may raise anything: the library behind it is not ours."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Record values by name, at a number of optimizer steps."""

    def close(self) -> None:
        """Make sure that all is recorded."""


class GuardedSink:
    """A sink that is opened by the first event, and given up for good when it fails.

    Args:
        name: for messages.
        connect: opens the sink.
    """

    def __init__(self, name: str, connect: Callable[[], Sink]) -> None:
        self.name = name
        self._connect = connect
        self._sink: Sink | None = None
        self._failed = False

    def write(self, event: TrainEvent) -> str | None:
        """Record the numbers of an event.

        Returns:
            The problem, if there was one now; after it nothing is recorded.
        """

        def record() -> None:
            if self._sink is None:
                self._sink = self._connect()
            if isinstance(event, StepRecord | EvalRecord):
                self._sink.write(scalars(event), event.step)

        return self._guard(record)

    def close(self) -> str | None:
        """End the recording.

        Returns:
            The problem, if there was one now.
        """
        return None if self._sink is None else self._guard(self._sink.close)

    def _guard(self, action: Callable[[], None]) -> str | None:
        if self._failed:
            return None
        try:
            action()
        except Exception as error:  # whatever a disk, a network or a library comes up with
            self._failed = True
            if self._sink is not None:
                with suppress(Exception):
                    self._sink.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"{self.name}: {reason}; the run goes on without it"
        return None


def scalars(record: StepRecord | EvalRecord) -> dict[str, float]:
    """The numbers of a record by the names the field gives them, `train/loss`, `val/loss`.

    What was not measured or is not finite is left out.
    """
    table = "train" if isinstance(record, StepRecord) else "val"
    found: dict[str, float] = {}
    for field, value in msgspec.structs.asdict(record).items():
        if field != "step" and isinstance(value, int | float) and math.isfinite(value):
            found[_NAMES.get(field, f"{table}/{field.removeprefix('val_')}")] = value
    return found


def require_sink(name: str) -> None:
    """Make sure that what `train.log_to` names is installed, without the seconds of importing it.

    Raises:
        ConfigError: it is not.
    """
    if name != "none" and find_spec(name) is None:
        raise ConfigError(
            f"`train.log_to` (--log-to): {name} is not installed; "
            f"pip install 'ttt-training[{name}]'"
        )


def open_sinks(run: RunDir, config: RunConfig, *, start: int) -> list[GuardedSink]:
    """The sinks a configuration asks for, of a run that has taken `start` steps.

    What TensorBoard holds of later steps, from before the run was resumed, gives way to the new;
    trackio and wandb get the same figures of those steps a second time.
    """
    name = config.train.log_to
    if name == "none":
        return []
    place = _Place(run, config, start)
    return [GuardedSink(name, lambda: _SINKS[name](place))]


class _Place(NamedTuple):
    """What a sink is opened for."""

    run: RunDir
    config: RunConfig
    start: int

    @property
    def key(self) -> str:
        """The same after a resumption and a move, another after `--overwrite`."""
        return hashlib.sha256(self.run.info.read_bytes()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """For people."""
        return self.run.path.resolve().name

    def settings(self) -> dict[str, Any]:
        """The configuration as tables."""
        return msgspec.to_builtins(self.config)


def open_event_file(folder: Path) -> FileIO:
    """Begin another event file of a run; TensorBoard reads them in the order of their names."""
    folder.mkdir(exist_ok=True)
    name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}"
    return (folder / name).open("xb", buffering=0)


class _TensorBoard:
    """An event file, each record one write.

    `SummaryWriter` would write from a thread: a kill loses what is queued, also of steps that the
    run is not taken back to, and a full disk is a traceback on the console.
    """

    def __init__(self, place: _Place) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        # Not by `import`: their names are made at run time, so that no type checker knows them.
        self._event = import_module("tensorboard.compat.proto.event_pb2")
        self._summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._file = open_event_file(place.run.tensorboard)
        self._records = RecordWriter(self._file)
        try:
            self._begin(place)
        except BaseException:
            self.close()
            raise

    def _begin(self, place: _Place) -> None:
        from torch.utils.tensorboard.summary import text

        self._add(file_version="brain.Event:2")
        if place.start:  # what is shown of this step and later ones goes
            begin = self._event.SessionLog(status=self._event.SessionLog.START)
            self._add(place.start + 1, session_log=begin)
        settings = f"```toml\n{dump(place.config)}```"
        self._add(place.start, summary=text("text/config", settings))

    def write(self, values: Mapping[str, float], step: int) -> None:
        value_of = self._summary.Value
        shown = [value_of(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=self._summary(value=shown))

    def close(self) -> None:
        self._file.close()

    def _add(self, step: int = 0, **content: object) -> None:
        event = self._event.Event(wall_time=time.time(), step=step, **content)
        self._records.write(event.SerializeToString())


class _Trackio:
    """A run in trackio's own database. It has no text, so the configuration is its `config`."""

    def __init__(self, place: _Place) -> None:
        self._trackio = import_module("trackio")
        with redirect_stdout(StringIO()):  # a greeting, amid what may be JSON
            self._run = self._trackio.init(
                project=PROJECT,
                name=f"{place.name}-{place.key}",
                config=place.settings(),
                resume="allow",
            )

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self._trackio.finish()  # that of the run alone is repeated, aloud, when Python exits


class _Wandb:
    """A run of Weights & Biases, offline unless the environment says otherwise.

    The step is a value like any other: wandb's own step can only grow, and a resumed run goes back.
    """

    def __init__(self, place: _Place) -> None:
        wandb = import_module("wandb")
        self._run = wandb.init(
            project=PROJECT,
            name=place.name,
            id=place.key,
            dir=str(place.run.path),
            config=place.settings(),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()


_SINKS: Mapping[str, Callable[[_Place], Sink]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
}
