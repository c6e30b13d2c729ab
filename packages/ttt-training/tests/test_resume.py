"""Law: a run that was killed and resumed is the run that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file

from ttt_config import (
    CheckpointIncompleteError,
    DataError,
    IncompatibleError,
    PreemptedError,
    RunConfig,
    dump,
    load,
)
from ttt_training import train, verify_checkpoint
from ttt_training.events import RunResumed, RunWarning, StepRecord, TrainEvent
from ttt_training.retention import list_checkpoints

ConfigMaker = Callable[..., RunConfig]

CHILD = Path(__file__).with_name("resume_child.py")
SMALL = {
    "hidden_size": 16,
    "num_layers": 1,
    "intermediate_size": 16,
    "max_seq_len": 16,
    "mini_batch_size": 8,
    "documents": 2,
    "batch_size": 2,
    "eval_samples": 2,
    "log_every": 1,
    "steps": 60,
    "save_every": 7,
    "eval_every": 20,
    "keep_last": 2,
}


def logged(out: Path) -> list[tuple[object, ...]]:
    """What must not differ: all records but the speed and the memory."""
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    names = ("event", "step", "loss", "lr", "grad_norm", "tokens")
    names += ("val_loss", "val_bpb", "inner_loss_before", "inner_loss_after")
    return [tuple(record.get(name) for name in names) for record in records]


def hashes(out: Path, step: int = 60) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint: parameters, optimizer, generators, place."""
    manifest = verify_checkpoint(out / f"checkpoints/step-{step:06d}")
    return {name: entry.sha256 for name, entry in manifest.files.items()}


def assert_same_run(a: Path, b: Path) -> None:
    assert logged(a) == logged(b)
    assert hashes(a) == hashes(b)
    assert hashes(a).keys() == {
        *("model.safetensors", "optim.safetensors", "rng.safetensors", "loader.json")
    }


class Trainer:
    """A process that forks for each run it is asked for."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.answer() == "ready"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def is_killed(self, config: RunConfig, **order: int) -> bool:
        """Train until the fork kills itself, or is done."""
        path = Path(config.out).with_suffix(".toml")
        path.write_text(dump(config))
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"config": str(path), **order}) + "\n")
        self.process.stdin.flush()
        code = int(self.answer())
        assert code in (0, -signal.SIGKILL)
        return code != 0


@pytest.fixture(scope="module")
def trainer() -> Iterator[Trainer]:
    started = Trainer()
    yield started
    started.process.communicate()


KINDS = {
    "linear": {"layer_type": "linear"},
    "linear-adam": {"layer_type": "linear-adam"},
    "mlp": {"layer_type": "mlp"},
    "mlp2": {"layer_type": "mlp2"},
    "mlp3": {"layer_type": "mlp3"},
    "mlp4": {"layer_type": "mlp4"},
    "accumulated": {"grad_accum_steps": 3, "batch_size": 2},
    "bf16": {"dtype": "bf16", "layer_type": "linear,mlp", "num_layers": 2},
    "f16": {"dtype": "f16", "layer_type": "linear,mlp", "num_layers": 2},
    "recomputed": {"activation_checkpointing": True, "inner_lr_warmup_steps": 50},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_a_random_step_and_resumed_is_the_run_that_was_not(
    tiny: ConfigMaker, trainer: Trainer, tmp_path: Path, kind: str
) -> None:
    whole = tiny(tmp_path / "whole", **(SMALL | KINDS[kind]))
    train(whole)
    dice = random.Random(f"law 5, {kind}")
    killed = msgspec.structs.replace(whole, out=str(tmp_path / "killed"))
    assert trainer.is_killed(killed, kill_at=dice.randint(8, 59))
    assert len(logged(tmp_path / "killed")) < 63
    events: list[TrainEvent] = []
    train(killed, resume="auto", on_event=events.append)
    assert isinstance(events[0], RunResumed)
    assert events[0].step % 7 == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_run_killed_again_and_again_also_inside_saves_is_the_same(
    tiny: ConfigMaker, trainer: Trainer, tmp_path: Path
) -> None:
    whole = tiny(tmp_path / "whole", **SMALL)
    train(whole)
    killed = msgspec.structs.replace(whole, out=str(tmp_path / "killed"))
    dice = random.Random(6)
    for _ in range(5):
        assert trainer.is_killed(killed, kill_in_save=dice.randint(5, 30))
        checkpoints = tmp_path / "killed" / "checkpoints"
        assert all(status.problem is None for status in list_checkpoints(checkpoints))
    train(killed, resume="auto")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed" / "checkpoints").glob("*.tmp"))


def test_a_damaged_checkpoint_is_skipped_by_name_and_written_anew(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    train(tiny(tmp_path / "whole", **SMALL))
    config = tiny(tmp_path / "damaged", **(SMALL | {"keep_last": 3}))
    train(config)
    checkpoints = tmp_path / "damaged" / "checkpoints"
    (checkpoints / "step-000056" / "rng.safetensors").unlink()
    optim = checkpoints / "step-000060" / "optim.safetensors"
    content = bytearray(optim.read_bytes())
    content[-9] ^= 4
    optim.write_bytes(content)
    events: list[TrainEvent] = []
    train(config, resume="auto", on_event=events.append)
    resumed = events[0]
    assert isinstance(resumed, RunResumed)
    assert resumed.step == 49
    assert [reason.partition(" is ")[0] for reason in resumed.skipped] == [
        str(optim),
        str(checkpoints / "step-000056" / "rng.safetensors"),
    ]
    assert_same_run(tmp_path / "whole", tmp_path / "damaged")


def test_steps_are_extended_and_the_change_is_listed(tiny: ConfigMaker, tmp_path: Path) -> None:
    train(tiny(tmp_path, save_every=3, log_every=1))
    events: list[TrainEvent] = []
    extended = tiny(tmp_path, save_every=2, log_every=1, steps=9)
    result = train(extended, resume="auto", on_event=events.append)
    assert events[0] == RunResumed(
        step=6,
        checkpoint=str(tmp_path / "checkpoints/step-000006"),
        skipped=[],
        changed=["train.steps: 6 -> 9", "train.save_every: 3 -> 2"],
    )
    assert [event.step for event in events if isinstance(event, StepRecord)] == [7, 8, 9]
    assert result.steps == 9
    assert load(tmp_path / "config.toml").train.steps == 9
    assert train(load(tmp_path), resume=str(tmp_path)).steps == 9, "its own file resumes"


def test_a_finished_run_has_nothing_to_do(finished_run: Path) -> None:
    before = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    events: list[TrainEvent] = []
    result = train(load(finished_run), resume="auto", on_event=events.append)
    assert result.steps == 6
    assert [event.message for event in events if isinstance(event, RunWarning)] == [
        "nothing to do: the run has taken 6 of 6 steps; raise --steps to go on"
    ]
    after = {path: path.read_bytes() for path in finished_run.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, r"`train.seed` was 0, now 3"),
        ({"batch_size": 2, "dtype": "bf16"}, r"`train.batch_size` was 4, now 2; `train.dtype` was"),
        ({"hidden_size": 64}, r"`model.hidden_size` was 32, now 64"),
        ({"documents": 5}, r"`data.documents` was 4, now 5"),
        ({"grad_accum_steps": 2}, r"`train.grad_accum_steps` was 1, now 2"),
    ],
)
def test_settings_the_state_depends_on_cannot_change(
    tiny: ConfigMaker, finished_run: Path, changes: dict[str, object], message: str
) -> None:
    config = tiny(finished_run, save_every=3, **changes)
    with pytest.raises(IncompatibleError, match=f"cannot resume with other settings: {message}"):
        train(config, resume="auto")


def test_text_that_has_changed_is_refused(tiny: ConfigMaker, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words to learn from\n" * 200)
    config = tiny(tmp_path / "run", source=str(text))
    train(config)
    text.write_text("some other words to learn\n" * 200)
    with pytest.raises(DataError, match="cannot resume: the data is not what it was"):
        train(load(tmp_path / "run"), resume="auto")


def test_auto_begins_a_run_that_has_no_checkpoint_yet(
    tiny: ConfigMaker, trainer: Trainer, tmp_path: Path
) -> None:
    config = tiny(tmp_path / "a", steps=2)
    assert train(config, resume="auto").steps == 2
    begun = tiny(tmp_path / "b", steps=60, save_every=60, log_every=1)
    assert trainer.is_killed(begun, kill_at=3)
    assert (tmp_path / "b" / "run.json").exists()
    assert train(tiny(tmp_path / "b", steps=2), resume="auto").steps == 2


def test_a_path_without_a_run_is_named(tiny: ConfigMaker, tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="no run directory"):
        train(tiny(tmp_path), resume=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    tiny: ConfigMaker, tmp_path: Path, number: signal.Signals
) -> None:
    whole, stopped = tiny(tmp_path / "a", log_every=1), tiny(tmp_path / "b", log_every=1)
    train(whole)

    def interrupt(event: TrainEvent) -> None:
        if isinstance(event, StepRecord) and event.step == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(PreemptedError, match=f"stopped by {number.name} after step 4 of 6; go on"):
        train(stopped, on_event=interrupt)
    assert signal.getsignal(number) == before
    assert verify_checkpoint(tmp_path / "b/checkpoints/step-000004").step == 4
    last = json.loads((tmp_path / "b/events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["signal"]) == ("stop", number.name)
    train(stopped, resume="auto")
    assert logged(tmp_path / "a") == logged(tmp_path / "b")
    assert hashes(tmp_path / "a", 6) == hashes(tmp_path / "b", 6)


def test_a_second_ctrl_c_quits_at_once(tiny: ConfigMaker, tmp_path: Path) -> None:
    def interrupt(event: TrainEvent) -> None:
        if isinstance(event, StepRecord):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tiny(tmp_path), on_event=interrupt)
    assert not (tmp_path / "checkpoints").exists()


def test_a_signal_in_an_evaluation_is_heeded_there(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ttt_training.loop as module

    evaluate, calls = module.evaluate, []

    def interrupted(model: object, batches: object, **options: object) -> object:
        calls.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(model, batches, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", interrupted)
    with pytest.raises(PreemptedError, match="stopped by SIGTERM after step 2 of 6"):
        train(tiny(tmp_path, eval_every=2))
    assert len(calls) == 1
    assert (tmp_path / "checkpoints/step-000002").is_dir()


def test_optimizer_state_is_saved_by_the_names_of_parameters(finished_run: Path) -> None:
    directory = finished_run / "checkpoints/step-000006"
    parameters = load_file(directory / "model.safetensors")
    moments = load_file(directory / "optim.safetensors")
    names = {name.rpartition(".")[0] for name in moments}
    assert names <= parameters.keys()
    assert moments[f"{min(names)}.step"].item() == 6
