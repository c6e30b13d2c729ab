import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ttt_config import ConfigError, IncompatibleError, NonFiniteError, RunConfig, dump, load
from ttt_data import Tokenizer
from ttt_training import train, verify_checkpoint
from ttt_training.events import CheckpointSaved, EvalRecord, StepRecord, TrainEvent

ConfigMaker = Callable[..., RunConfig]


def records(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[float, float | None, float | None]]:
    """What must not differ between equal runs: all but the speed."""
    return [(entry["step"], entry.get("loss"), entry.get("val_loss")) for entry in records(out)]


def parameters(out: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return load_file(out / f"checkpoints/step-{step:06d}/model.safetensors")


def assert_same_run(a: Path, b: Path) -> None:
    assert losses(a) == losses(b)
    ours, theirs = parameters(a), parameters(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_loss_falls_below_that_of_token_frequencies(tiny: ConfigMaker, tmp_path: Path) -> None:
    result = train(tiny(tmp_path, steps=120, batch_size=8, documents=40, log_every=1))
    logged = [entry["loss"] for entry in records(tmp_path) if entry["event"] == "step"]
    uniform = math.log(Tokenizer.load("bytes").vocab_size)
    assert logged[0] == pytest.approx(uniform, abs=0.2)
    assert result.val_loss < result.unigram_entropy < logged[0]
    assert result.inner_loss_before is not None
    assert result.inner_loss_after is not None
    assert result.inner_loss_after < result.inner_loss_before


@pytest.mark.parametrize("layer_type", ["linear", "linear,mlp"])
def test_the_same_configuration_gives_the_same_run_bit_for_bit(
    tiny: ConfigMaker, tmp_path: Path, layer_type: str
) -> None:
    for name in ("a", "b"):
        train(tiny(tmp_path / name, layer_type=layer_type, log_every=1, eval_every=2))
        torch.rand(3)  # the global generator must not matter
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert len(losses(tmp_path / "a")) == 6 + 3


def test_another_process_gives_the_same_run(
    tiny: ConfigMaker, tmp_path: Path, finished_run: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(dump(tiny(tmp_path / "other", save_every=3)))
    code = (
        "import sys; from ttt_config import load; from ttt_training import train\n"
        "train(load(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, config], check=True)
    assert_same_run(finished_run, tmp_path / "other")


def test_another_seed_gives_another_run(
    tiny: ConfigMaker, tmp_path: Path, finished_run: Path
) -> None:
    train(tiny(tmp_path, seed=1))
    assert losses(tmp_path)[0] != losses(finished_run)[0]


def test_the_callers_random_state_is_left_alone(tiny: ConfigMaker, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(tiny(tmp_path, steps=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_events_come_at_their_intervals_and_at_the_end(tiny: ConfigMaker, tmp_path: Path) -> None:
    events: list[TrainEvent] = []
    config = tiny(tmp_path, steps=7, log_every=4, eval_every=3, save_every=5)
    result = train(config, on_event=events.append)
    kinds = [(type(event).__name__, getattr(event, "step", None)) for event in events]
    assert kinds == [
        ("RunStarted", None),
        ("StepRecord", 1),
        ("EvalRecord", 3),
        ("StepRecord", 4),
        ("CheckpointSaved", 5),
        ("EvalRecord", 6),
        ("StepRecord", 7),
        ("EvalRecord", 7),
        ("CheckpointSaved", 7),
        ("TrainResult", None),
    ]
    assert events[-1] == result
    last = [event for event in events if isinstance(event, EvalRecord)][-1]
    assert last.inner_loss_before is not None
    assert (result.inner_loss_before, result.inner_loss_after) == (
        *(last.inner_loss_before, last.inner_loss_after),
    )
    logged = [event for event in events if isinstance(event, StepRecord | EvalRecord)]
    assert [entry["step"] for entry in records(tmp_path)] == [event.step for event in logged]
    assert [event.tokens for event in logged if isinstance(event, StepRecord)] == [128, 512, 896]
    for event in events:
        if isinstance(event, CheckpointSaved):
            assert verify_checkpoint(Path(event.path)).step == event.step


def test_the_logged_learning_rate_and_norm_are_those_of_the_step(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    train(tiny(tmp_path, log_every=1, max_grad_norm=0.01))
    steps = [entry for entry in records(tmp_path) if entry["event"] == "step"]
    assert [steps[0]["lr"], steps[1]["lr"], steps[5]["lr"]] == [0.005, 0.01, 1e-5]
    assert all(entry["grad_norm"] > 0.01 for entry in steps), "logged before clipping"


def test_bfloat16_follows_float32_and_keeps_float32_parameters(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    for dtype in ("f32", "bf16"):
        train(tiny(tmp_path / dtype, dtype=dtype, steps=20, log_every=1, lr=3e-3))
    exact, rounded = (
        [loss or val_loss for _, loss, val_loss in losses(tmp_path / dtype)]
        for dtype in ("f32", "bf16")
    )
    assert rounded != exact, "bf16 must change something"
    assert rounded == pytest.approx(exact, rel=0.002)
    saved = parameters(tmp_path / "bf16", step=20)
    assert {value.dtype for value in saved.values()} == {torch.float32}


@pytest.fixture
def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each optimizer step."""
    taken: list[int] = []
    step = torch.optim.AdamW.step

    def counted(optimizer: torch.optim.AdamW) -> None:
        taken.append(len(taken) + 1)
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return taken


def test_a_bad_loss_stops_before_it_reaches_the_parameters(
    tiny: ConfigMaker, tmp_path: Path, steps_taken: list[int]
) -> None:
    with pytest.raises(NonFiniteError, match=r"step 2: loss nan.*tokens \d+(, \d+){3} of"):
        train(tiny(tmp_path, lr=1e30, weight_decay=0, save_every=1))
    assert steps_taken == [1]
    assert all(value.isfinite().all() for value in parameters(tmp_path, step=1).values())


def test_a_bad_gradient_behind_a_good_loss_stops_too(
    tiny: ConfigMaker, tmp_path: Path, steps_taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ttt_training.step.clip_grad_norm_", lambda *_arguments: torch.tensor(torch.inf)
    )
    with pytest.raises(NonFiniteError, match=r"step 1: loss \d.*, gradient norm inf"):
        train(tiny(tmp_path))
    assert steps_taken == []


def test_a_window_without_a_whole_mini_batch_has_no_inner_loss(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    result = train(tiny(tmp_path, steps=1, seq_len=8, mini_batch_size=16))
    assert result.inner_loss_before is None
    assert result.inner_loss_after is None
    assert records(tmp_path)[-1]["inner_loss_before"] is None


def test_how_often_a_run_is_evaluated_does_not_change_it(tiny: ConfigMaker, tmp_path: Path) -> None:
    for name, interval in (("often", 1), ("once", 6)):
        train(tiny(tmp_path / name, eval_every=interval, log_every=1))
    often, once = parameters(tmp_path / "often", step=6), parameters(tmp_path / "once", step=6)
    assert all(torch.equal(often[name], once[name]) for name in once)


def test_the_vocabulary_comes_from_the_tokenizer_unless_a_larger_one_is_given(
    tiny: ConfigMaker, tmp_path: Path, finished_run: Path
) -> None:
    tokens = Tokenizer.load("bytes").vocab_size
    assert load(finished_run).model.vocab_size == tokens
    train(tiny(tmp_path / "larger", steps=1, vocab_size=tokens + 7))
    assert load(tmp_path / "larger").model.vocab_size == tokens + 7
    with pytest.raises(IncompatibleError, match=rf"vocab_size` is 9, but .* {tokens} tokens"):
        train(tiny(tmp_path / "smaller", vocab_size=9))
    assert not (tmp_path / "smaller").exists()


def test_a_taken_directory_is_refused_before_anything_is_done(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    train(tiny(tmp_path, steps=1))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ConfigError, match=r"holds a run already; .*--out OTHER.*--overwrite"):
        train(tiny(tmp_path, steps=1))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_overwrite_replaces_the_run_and_nothing_else(tiny: ConfigMaker, tmp_path: Path) -> None:
    train(tiny(tmp_path, steps=4, save_every=1))
    (tmp_path / "notes.txt").write_text("mine")
    train(tiny(tmp_path, steps=2), overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert [entry["step"] for entry in records(tmp_path)] == [1, 2, 2]


@pytest.mark.parametrize("name", ["config.toml", "checkpoints"])
def test_overwrite_never_takes_what_no_run_wrote(
    tiny: ConfigMaker, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=rf"holds a {name} that no run wrote"):
        train(tiny(tmp_path), overwrite=True)
    assert (tmp_path / name).exists()


def test_a_file_is_no_directory_for_a_run(tiny: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        train(tiny(tmp_path / "file"))
