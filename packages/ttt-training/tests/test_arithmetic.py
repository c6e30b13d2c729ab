"""Float16 with a loss scale, activation checkpointing, compilation, inner warm-up."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ttt_config import IncompatibleError, RunConfig
from ttt_training import train
from ttt_training.events import RunWarning, TrainEvent
from ttt_training.schedule import inner_lr_factor

ConfigMaker = Callable[..., RunConfig]


def losses(out: Path) -> list[float]:
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["event"] == "step"]


def test_float16_follows_float32_and_saves_its_loss_scale(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    for dtype in ("f32", "f16"):
        train(tiny(tmp_path / dtype, dtype=dtype, log_every=1))
    assert losses(tmp_path / "f16") != losses(tmp_path / "f32")
    assert losses(tmp_path / "f16") == pytest.approx(losses(tmp_path / "f32"), rel=1e-3)
    saved = load_file(tmp_path / "f16/checkpoints/step-000006/optim.safetensors")
    assert saved["loss_scale.scale"].item() == 65536.0
    assert saved["loss_scale._growth_tracker"].item() == 6.0
    model = load_file(tmp_path / "f16/checkpoints/step-000006/model.safetensors")
    assert {tensor.dtype for tensor in model.values()} == {torch.float32}


def test_a_gradient_that_overflows_in_float16_lowers_the_scale_and_moves_nothing(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ttt_training.learner.GradScaler", _HighScaler)
    events: list[TrainEvent] = []
    config = tiny(tmp_path, dtype="f16", log_every=1, steps=3, save_every=1)
    train(config, on_event=events.append)
    warnings = [event.message for event in events if isinstance(event, RunWarning)]
    assert warnings[0].startswith("step 1 left out: a gradient overflowed; the loss scale is now")
    first = load_file(tmp_path / "checkpoints/step-000001/optim.safetensors")
    assert set(first) >= {"loss_scale.scale", "loss_scale._growth_tracker"}
    assert not any(name.endswith("exp_avg") for name in first)


class _HighScaler(torch.amp.GradScaler):
    def __init__(self, device: str, *, enabled: bool) -> None:
        super().__init__(device, init_scale=2.0**120, backoff_factor=2.0**-108, enabled=enabled)


@pytest.mark.parametrize("layer_type", ["linear,mlp", "linear-adam"])
def test_activation_checkpointing_changes_memory_and_no_number(
    tiny: ConfigMaker, tmp_path: Path, layer_type: str
) -> None:
    for flag in (False, True):
        train(
            tiny(
                tmp_path / str(flag),
                layer_type=layer_type,
                activation_checkpointing=flag,
                inner_lr_warmup_steps=4,
                log_every=1,
            )
        )
    assert losses(tmp_path / "True") == losses(tmp_path / "False")


# torch 2.13 reads .grad of intermediate tensors while it traces, and warns of that itself.
tracing = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


@tracing
def test_a_compiled_run_learns_what_an_eager_one_learns(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_module, calls = torch.nn.Module.compile, []

    def without_inductor(module: torch.nn.Module) -> None:  # no C++ compiler needed
        calls.append(module)
        compile_module(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", without_inductor)
    for flag in (False, True):
        train(tiny(tmp_path / str(flag), compile=flag, log_every=1, inner_lr_warmup_steps=3))
    assert len(calls) == 2, "one for each block"
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-5)


@tracing
def test_a_machine_that_cannot_compile_says_so_in_one_line(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("no compiler here")

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: compile_module(module, backend=broken)
    )
    with pytest.raises(IncompatibleError, match=r"--compile: torch cannot .*no compiler here"):
        train(tiny(tmp_path, compile=True))


def test_the_inner_warm_up_is_that_of_the_official_recipe(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    settings = tiny(tmp_path, inner_lr_warmup_steps=10).train
    official = [(0.01 + min(1, (step - 1) / 10) * (0.1 - 0.01)) / 0.1 for step in range(1, 20)]
    ours = [inner_lr_factor(step, settings) for step in range(1, 20)]
    assert ours == pytest.approx(official, abs=1e-12)
    train(tiny(tmp_path / "a", inner_lr_warmup_steps=6, log_every=1))
    train(tiny(tmp_path / "b", log_every=1))
    assert losses(tmp_path / "a")[0] != losses(tmp_path / "b")[0]
