"""Law: a sink sees what metrics.jsonl holds, and can neither change nor end a run."""

import json
import os
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ttt_config import ConfigError, PreemptedError, RunConfig
from ttt_training import train, verify_checkpoint
from ttt_training.events import EvalRecord, RunWarning, StepRecord, TrainEvent
from ttt_training.metrics import Reporter
from ttt_training.run_dir import RunDir
from ttt_training.sinks import GuardedSink, scalars

ConfigMaker = Callable[..., RunConfig]

STEP = StepRecord(
    step=10,
    loss=6.5,
    lr=1e-3,
    grad_norm=0.9,
    tokens=20_480,
    tokens_per_s=1024.0,
    data_time_s=0.0002,
    peak_memory_bytes=3 << 29,
)
EVAL = EvalRecord(step=10, val_loss=6.0, val_loss_error=0.02, val_ppl=403.4, val_bpb=2.4)

FAKE = """
import json, os
class Settings(dict):
    pass
def _note(*what):
    with open(os.environ["FAKE_LOG"], "a") as file:
        print(json.dumps(what), file=file)
class Run:
    def log(self, values, step=None):
        _note("log", values, step)
    def define_metric(self, *names, **options):
        _note("define_metric", names, options)
    def finish(self):
        _note("finish")
run = Run()
finish = run.finish
def init(**options):
    print('hi')
    _note("init", options)
    return run
"""


def scalar_events(out: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows of a run: values by name and step."""
    read = EventAccumulator(str(out / "tensorboard"))
    read.Reload()
    shown: dict[str, dict[int, float]] = {}
    for name in read.scalars.Keys():
        events = read.Scalars(name)
        shown[name] = {event.step: event.value for event in events}
        assert len(shown[name]) == len(events), "a step is shown once"
    return shown


def records(out: Path, kind: str) -> list[dict[str, float]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def test_scalars_have_the_names_of_the_field() -> None:
    assert scalars(STEP) == {
        "train/loss": 6.5,
        "train/lr": 1e-3,
        "train/grad_norm": 0.9,
        "train/tokens": 20_480,
        "train/tokens_per_s": 1024.0,
        "train/data_time_s": 0.0002,
        "train/peak_memory_bytes": 3 << 29,
    }
    assert scalars(EVAL) == {
        "val/loss": 6.0,
        "val/loss_error": 0.02,
        "val/perplexity": 403.4,
        "val/bits_per_byte": 2.4,
    }


def test_what_is_not_finite_is_no_scalar() -> None:
    only = EvalRecord(
        step=1,
        val_loss=6.0,
        val_loss_error=float("nan"),
        val_ppl=403.4,
        val_bpb=float("inf"),
        inner_loss_before=2.0,
        inner_loss_after=1.0,
    )
    assert scalars(only) == {
        "val/loss": 6.0,
        "val/perplexity": 403.4,
        "val/inner_loss_before": 2.0,
        "val/inner_loss_after": 1.0,
    }


def test_tensorboard_shows_what_metrics_jsonl_holds_and_changes_no_parameter(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    for name in ("none", "tensorboard"):
        train(tiny(tmp_path / name, log_to=name, log_every=2, eval_every=3))
    assert not (tmp_path / "none/tensorboard").exists()
    out = tmp_path / "tensorboard"
    shown = scalar_events(out)
    for name, kind, field in [
        ("train/loss", "step", "loss"),
        ("train/lr", "step", "lr"),
        ("val/loss", "eval", "val_loss"),
        ("val/bits_per_byte", "eval", "val_bpb"),
        ("val/inner_loss_after", "eval", "inner_loss_after"),
    ]:
        expected = {record["step"]: record[field] for record in records(out, kind)}
        assert shown[name] == pytest.approx(expected), name
    silent = verify_checkpoint(tmp_path / "none/checkpoints/step-000006")
    assert verify_checkpoint(out / "checkpoints/step-000006").files == silent.files
    read = EventAccumulator(str(out / "tensorboard"))
    read.Reload()
    (text,) = read.Tensors("text/config/text_summary")
    assert b"hidden_size = 32" in text.tensor_proto.string_val[0]


def test_a_resumed_run_shows_each_step_once(tiny: ConfigMaker, tmp_path: Path) -> None:
    config = tiny(tmp_path, log_to="tensorboard", log_every=1, save_every=3)

    def fail(event: TrainEvent) -> None:
        if isinstance(event, StepRecord) and event.step == 6:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(config, on_event=fail)  # step 5 is shown, the checkpoint is of step 3
    train(config, resume="auto")
    shown = scalar_events(tmp_path)["train/loss"]
    assert shown == pytest.approx(
        {each["step"]: each["loss"] for each in records(tmp_path, "step")}
    )
    assert list(shown) == [1, 2, 3, 4, 5, 6]


def test_overwrite_removes_the_curves_of_the_earlier_run(tiny: ConfigMaker, tmp_path: Path) -> None:
    train(tiny(tmp_path, log_to="tensorboard", steps=3))
    (tmp_path / "tensorboard/notes").write_text("mine")
    train(tiny(tmp_path, log_to="tensorboard", steps=2), overwrite=True)
    assert list(scalar_events(tmp_path)["train/loss"]) == [1, 2]
    assert (tmp_path / "tensorboard/notes").exists()


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_missing_extra_is_refused_before_anything_is_done(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("ttt_training.sinks.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'ttt-training\[{name}\]'$") as caught:
        train(tiny(tmp_path / "run", log_to=name))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_run_goes_on_under_its_name_after_a_resumption(
    tiny: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (tmp_path / "lib").mkdir()
    greets = name == "trackio"
    (tmp_path / f"lib/{name}.py").write_text(FAKE if greets else FAKE.replace("print('hi')", ""))
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "calls"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = tiny(tmp_path / "run", log_to=name, steps=2)
    train(config)
    train(tiny(tmp_path / "run", log_to=name, steps=3), resume="auto")
    sys.modules.pop(name)
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    begun, resumed = (call[1] for call in calls if call[0] == "init")
    assert begun["config"]["train"]["steps"] == 2
    assert begun["config"]["model"]["hidden_size"] == 32
    for option in ("name", "id", "project", "resume", "mode"):
        assert begun.get(option) == resumed.get(option)
    assert begun.get("mode") == ("offline" if name == "wandb" else None)
    logged = [(call[1], call[2]) for call in calls if call[0] == "log" and "val/loss" in call[1]]
    assert [values.get("step", step) for values, step in logged] == [2, 3]
    assert [call[0] for call in calls].count("finish") == 2
    assert capsys.readouterr().out == ""


class Breaking:
    """A sink that takes a few records and breaks."""

    def __init__(self, lasts: int) -> None:
        self.left = lasts

    def write(self, values: object, step: int) -> None:
        del values, step
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space\n  left")

    def close(self) -> None:
        raise RuntimeError


def refuse() -> Breaking:
    raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("connect", "reason", "at"),
    [
        (refuse, "no network", 0),
        (lambda: Breaking(1), "[Errno 28] No space left", 2),
        (lambda: Breaking(9), "RuntimeError", 6),
    ],
)
def test_a_sink_that_fails_is_told_once_and_given_up(
    tmp_path: Path, connect: Callable[[], Breaking], reason: str, at: int
) -> None:
    seen: list[TrainEvent] = []
    with Reporter(RunDir(tmp_path), seen.append, [GuardedSink("fake", connect)]) as report:
        for _ in range(3):
            report(STEP)
            report(EVAL)
    warnings = [event for event in seen if isinstance(event, RunWarning)]
    assert warnings == [RunWarning(step=10, message=f"fake: {reason}; the run goes on without it")]
    assert seen.index(warnings[0]) == max(at, 1)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6
    assert json.loads((tmp_path / "events.jsonl").read_text())["event"] == "warning"


@pytest.mark.skipif(sys.platform == "darwin", reason="has no /dev/full")
def test_a_run_goes_on_without_curves_that_a_full_disk_refuses(
    tiny: ConfigMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "ttt_training.sinks.open_event_file", lambda _folder: FileIO("/dev/full", "w")
    )
    seen: list[TrainEvent] = []
    result = train(tiny(tmp_path, log_to="tensorboard", log_every=1), on_event=seen.append)
    warnings = [event.message for event in seen if isinstance(event, RunWarning)]
    assert warnings == [
        "tensorboard: [Errno 28] No space left on device; the run goes on without it"
    ]
    assert result.steps == len(records(tmp_path, "step")) == 6
    assert capsys.readouterr() == ("", "")


def test_a_signal_closes_the_sink(tiny: ConfigMaker, tmp_path: Path) -> None:
    def interrupt(event: TrainEvent) -> None:
        if isinstance(event, StepRecord) and event.step == 4:
            os.kill(os.getpid(), 15)

    with pytest.raises(PreemptedError):
        train(tiny(tmp_path, log_to="tensorboard", log_every=1), on_event=interrupt)
    assert list(scalar_events(tmp_path)["train/loss"]) == [1, 2, 3, 4]
