"""What happens when a loss or a gradient is not a number."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ttt_config import NonFiniteError, RunConfig
from ttt_core import InnerLearningRate
from ttt_layer import TTTModel
from ttt_training import train
from ttt_training.events import RunWarning, TrainEvent

ConfigMaker = Callable[..., RunConfig]


class Poison:
    """Makes the second layer's inner learning rate NaN from token 19 on, in chosen steps."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, steps: set[int], *, grad: bool = False
    ) -> None:
        self.steps, self.grad, self.step = steps, grad, 0
        hidden = TTTModel.hidden
        rate_forward = InnerLearningRate.forward

        def counted(model: TTTModel, *arguments: object, **options: object) -> object:
            self.second = model.get_submodule("blocks.1.ttt.eta")
            return hidden(model, *arguments, **options)  # type: ignore[arg-type]

        def poisoned(rate: InnerLearningRate, x: torch.Tensor) -> torch.Tensor:
            eta = rate_forward(rate, x)
            if rate is not self.second or self.step not in self.steps or not rate.training:
                return eta
            if self.grad:
                eta.register_hook(lambda gradient: gradient * torch.nan)
                return eta
            bad = torch.zeros_like(eta)
            bad[1, 19] = torch.nan
            return eta + bad

        monkeypatch.setattr(TTTModel, "hidden", counted)
        monkeypatch.setattr(InnerLearningRate, "forward", poisoned)
        import ttt_training.loop as loop

        take_step = loop.take_step

        def numbered(*arguments: object, step: int, **options: object) -> object:
            self.step = step
            return take_step(*arguments, step=step, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "take_step", numbered)


def test_a_bad_loss_is_traced_to_layer_and_mini_batch(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {3})
    with pytest.raises(
        NonFiniteError,
        match=r"step 3: loss nan, .*layer 1 \(`blocks\.1\.ttt\.eta`\), inner mini-batch 2, "
        r"token 19, on the windows from tokens .*--on-nonfinite",
    ):
        train(tiny(tmp_path, mini_batch_size=8))


def test_a_bad_gradient_behind_a_good_loss_is_traced_too(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {2}, grad=True)
    with pytest.raises(NonFiniteError, match=r"step 2: loss \d.*first in the gradient .*layer 1"):
        train(tiny(tmp_path))


def test_a_bad_step_can_be_left_out(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {3})
    events: list[TrainEvent] = []
    config = tiny(tmp_path, on_nonfinite="skip", log_every=1, save_every=1, keep_last=9)
    train(config, on_event=events.append)
    [warning] = [event for event in events if isinstance(event, RunWarning)]
    assert warning.step == 3
    assert warning.message.endswith("; the step is left out")
    records = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert [r["step"] for r in records if r["event"] == "step"] == [1, 2, 4, 5, 6]
    before, after = (
        load_file(tmp_path / f"checkpoints/step-00000{step}/model.safetensors") for step in (2, 3)
    )
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_run_gives_up_when_every_step_is_bad(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, set(range(4, 99)))
    with pytest.raises(NonFiniteError, match=r"step 14: .*10 steps before it were left out, too"):
        train(tiny(tmp_path, on_nonfinite="skip", steps=40))


def test_a_rollback_brings_the_last_checkpoint_back_and_reads_on(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {4})
    events: list[TrainEvent] = []
    config = tiny(
        tmp_path / "a", on_nonfinite="rollback", save_every=2, log_every=1, steps=6, keep_last=9
    )
    train(config, on_event=events.append)
    [warning] = [event for event in events if isinstance(event, RunWarning)]
    assert warning.message.endswith(
        "the run goes on from step-000002 with the batches after this one"
    )
    steps = [
        load_file(tmp_path / f"a/checkpoints/step-00000{step}/optim.safetensors")[
            "embed.weight.step"
        ]
        for step in (2, 4, 6)
    ]
    assert [int(step) for step in steps] == [2, 2, 4], "steps 3 and 4 are lost"


def test_a_run_that_was_rolled_back_and_is_resumed_from_before_does_the_same_again(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {4})
    options = {"on_nonfinite": "rollback", "save_every": 2, "log_every": 1, "keep_last": 9}
    config = tiny(tmp_path, **options)
    train(config)
    records = (tmp_path / "metrics.jsonl").read_text().splitlines()
    last = tmp_path / "checkpoints/step-000006"
    before = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    for step in (4, 6):  # as if the run had been killed before it could save them
        shutil.rmtree(tmp_path / f"checkpoints/step-00000{step}")
    train(config, resume="auto")
    assert {path.name: path.read_bytes() for path in last.glob("*.safetensors")} == before
    again = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [[json.loads(line).get("loss") for line in lines] for lines in (records, again)]
    assert losses[0] == losses[1]


def test_a_rollback_without_a_checkpoint_stops(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {1})
    with pytest.raises(NonFiniteError, match=r"step 1: .*cannot roll back: no whole checkpoint"):
        train(tiny(tmp_path, on_nonfinite="rollback"))


def test_a_rollback_to_the_same_checkpoint_is_not_tried_for_ever(
    tiny: ConfigMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, {6, 7, 8, 9})
    with pytest.raises(NonFiniteError, match=r"step 9: .*rolled back to .*step-000005 3 times"):
        train(tiny(tmp_path, on_nonfinite="rollback", steps=12, save_every=5))
