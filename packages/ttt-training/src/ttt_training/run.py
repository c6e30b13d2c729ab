"""From a configuration to a run: build its parts, or bring them back, and set the loop going."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ttt_config import CheckpointError, RunConfig, load
from ttt_core import choose_kernels
from ttt_data import Tokenizer
from ttt_data.seeds import derive_seed
from ttt_training.build import build_model, fit_vocabulary
from ttt_training.checkpoint import load_checkpoint, load_training_state
from ttt_training.checkpoint_files import committed_checkpoints
from ttt_training.data import adopt_tokenizer, load_data
from ttt_training.device import default_device
from ttt_training.events import RunResumed, RunWarning, TrainEvent, TrainResult
from ttt_training.learner import Learner
from ttt_training.length import fit_length
from ttt_training.loop import TrainingLoop
from ttt_training.metrics import Reporter
from ttt_training.resume import changed_settings, find_resume_point, rewind
from ttt_training.run_dir import RunDir
from ttt_training.seeds import seeded_torch
from ttt_training.signals import StopSignals
from ttt_training.sinks import open_sinks, require_sink


def train(
    config: RunConfig,
    *,
    overwrite: bool = False,
    resume: str | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> TrainResult:
    """Train a model and leave a run directory at `config.out`.

    On one machine the same configuration gives the same losses and parameters, bit for bit, also
    if the run was killed and resumed on the way.

    Args:
        config: the whole run.
        overwrite: replace the run that is at `config.out` already.
        resume: `auto` goes on with the run at `config.out`, or begins it if it has no checkpoint;
            a run directory or checkpoint goes on with that. `config` is then what the run was
            begun with, but for settings that may change.
        on_event: told of the start, each logged step, evaluation and checkpoint, and the end.

    Raises:
        ConfigError: the directory is taken, values of the configuration do not fit together, or
            what `train.log_to` names is not installed.
        KernelUnavailableError: `model.inner.kernel` cannot run here; raised before data is read.
        DataError: the text or the tokenizer cannot be read, or the text is too short.
        NonFiniteError: the loss or the gradient of a step is not a number; raised before it
            reaches the parameters.
        CheckpointError: the disk refused the last checkpoint, or there is none to resume from.
        PreemptedError: a signal asked the run to end; its state is saved.
    """
    require_sink(config.train.log_to)
    choose_kernels(config.model, default_device().type)
    with StopSignals() as stop, seeded_torch(derive_seed(config.train.seed, "training")):
        run = RunDir(Path(config.out))
        if resume == "auto" and not committed_checkpoints(run.checkpoints):
            overwrite, resume = run.info.is_file(), None
        if resume is None:
            return _begin(config, run, overwrite, stop, on_event)
        return _resume(config, resume, stop, on_event)


def _begin(
    config: RunConfig,
    run: RunDir,
    overwrite: bool,
    stop: StopSignals,
    on_event: Callable[[TrainEvent], None] | None,
) -> TrainResult:
    run.check_free(overwrite=overwrite)  # before the minute that reading the data may take
    config = adopt_tokenizer(config)
    tokenizer = Tokenizer.load(config.data.tokenizer)
    config = fit_vocabulary(config, tokenizer)
    data = load_data(config, tokenizer)
    config = fit_length(config, data.train)
    learner = Learner.build(build_model(config).to(default_device()), config.train)
    with _explained_refusal(run):
        run.create(config, tokenizer, default_device(), overwrite=overwrite)
        sinks = open_sinks(run, config, start=0)
        reporter = Reporter(run, on_event, sinks)
    loop = TrainingLoop(config, tokenizer, data, learner, run, stop)
    with reporter as report:
        return loop.train(report, start=0)


def _resume(
    config: RunConfig,
    where: str,
    stop: StopSignals,
    on_event: Callable[[TrainEvent], None] | None,
) -> TrainResult:
    run, checkpoint, skipped = find_resume_point(Path(config.out if where == "auto" else where))
    tokenizer = Tokenizer.load(run.tokenizer)
    config = fit_vocabulary(adopt_tokenizer(config), tokenizer)
    changed_settings(load(run.config), config)  # before the minute that reading the data may take
    data = load_data(config, tokenizer)
    config = fit_length(config, data.train)
    changed = changed_settings(load(run.config), config)
    model = build_model(config)
    load_checkpoint(checkpoint, model)
    learner = Learner.build(model.to(default_device()), config.train)
    place = load_training_state(checkpoint, learner.model, learner.optimizer, learner.scaler)
    start = data.train.step_of(place)
    loop = TrainingLoop(config, tokenizer, data, learner, run, stop)
    if start >= config.train.steps:
        if on_event is not None:
            on_event(_nothing_to_do(start, config.train.steps))
        return loop.summarize(loop.evaluate(start), checkpoint)
    with _explained_refusal(run):
        rewind(run, start, config)
        reporter = Reporter(run, on_event, open_sinks(run, config, start=start))
    with reporter as report:
        report(
            RunResumed(
                step=start,
                checkpoint=str(checkpoint),
                skipped=skipped,
                changed=changed,
            )
        )
        return loop.train(report, start=start)


@contextmanager
def _explained_refusal(run: RunDir) -> Iterator[None]:
    """Say in one line that the directory of a run cannot be written.

    Raises:
        CheckpointError: the system refused it.
    """
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write {error.filename or run.path}: {error.strerror}; make {run.path} "
            "writable, with room on its disk, or go on in a copy of it"
        ) from error


def _nothing_to_do(taken: int, wanted: int) -> RunWarning:
    message = f"nothing to do: the run has taken {taken} of {wanted} steps; raise --steps to go on"
    return RunWarning(step=taken, message=message)
