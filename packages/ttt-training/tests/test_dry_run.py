"""A run that is planned and not begun."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ttt_config import IncompatibleError, RunConfig, load
from ttt_data import Tokenizer
from ttt_layer import TTTModel
from ttt_training import train
from ttt_training.data import load_data
from ttt_training.dry_run import checkpoint_bytes, dry_run, estimate_memory
from ttt_training.loss import cross_entropy

ConfigMaker = Callable[..., RunConfig]


@pytest.mark.parametrize("layer_type", ["linear", "linear-adam", "mlp"])
def test_the_memory_is_that_of_a_real_step(
    tiny: ConfigMaker, tmp_path: Path, layer_type: str
) -> None:
    config = tiny(tmp_path, layer_type=layer_type, vocab_size=300)
    estimate = estimate_memory(config)
    model = TTTModel(config.model)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert estimate.parameters == estimate.gradients == 4 * numbers
    assert estimate.optimizer == 8 * numbers
    assert estimate.scores == 2 * 4 * 4 * 32 * 300
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros(4, 32, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = cross_entropy(model.hidden(ids)[0], model.head, ids)
    real = sum(
        tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own
    )
    assert loss.isfinite()
    assert estimate.activations == pytest.approx(real, rel=0.02)


def test_more_tokens_do_not_take_more_memory_for_their_scores(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    few, many = (
        estimate_memory(tiny(tmp_path, vocab_size=8192, batch_size=rows)) for rows in (8, 64)
    )
    assert few.scores == many.scores
    scores_of_all = 4 * 64 * 32 * 8192
    assert many.total < few.total + scores_of_all


def test_a_dry_run_says_what_the_run_will_do_and_writes_nothing(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    config = tiny(tmp_path / "run", epochs=2, grad_accum_steps=2)
    plan = dry_run(config)
    assert list(tmp_path.iterdir()) == []
    train(config)
    written = load(tmp_path / "run")
    assert (written.train.steps, written.train.epochs) == (plan.steps, None)
    assert plan.tokens_per_step == 2 * 4 * 32
    assert plan.tokens == plan.steps * plan.tokens_per_step
    assert plan.epochs == pytest.approx(2, rel=0.2)
    checkpoint = next((tmp_path / "run" / "checkpoints").iterdir())
    tensors = sum(
        (checkpoint / f"{name}.safetensors").stat().st_size for name in ("model", "optim")
    )
    assert plan.checkpoint_bytes == pytest.approx(tensors, rel=0.2)


def test_a_length_in_tokens_is_rounded_up_to_steps(tiny: ConfigMaker, tmp_path: Path) -> None:
    assert dry_run(tiny(tmp_path, tokens=1000)).steps == 8  # of 128 tokens
    windows = load_data(tiny(tmp_path), Tokenizer.load("bytes")).train.num_windows
    assert dry_run(tiny(tmp_path, epochs=1)).steps == -(-windows // 4)


def test_two_lengths_are_refused(tiny: ConfigMaker, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match=r"`train.tokens` and `train.epochs` both give"):
        dry_run(tiny(tmp_path, tokens=1000, epochs=1))


@pytest.mark.parametrize("layer_type", ["linear", "mlp2", "2*linear-adam,mlp"])
@pytest.mark.parametrize("backbone", ["transformer", "mamba"])
def test_a_checkpoint_can_be_sized_without_the_data(
    tiny: ConfigMaker, tmp_path: Path, layer_type: str, backbone: str
) -> None:
    config = tiny(tmp_path, layer_type=layer_type, backbone=backbone)
    assert checkpoint_bytes(config) == dry_run(config).checkpoint_bytes


def test_dtype_mix_inner_states_and_their_checkpoints_count(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    def total(**values: object) -> int:
        long = {"vocab_size": 300, "max_seq_len": 256, "kernel": "reference"}
        return estimate_memory(tiny(tmp_path, **long, **values)).total

    linear, mlp = total(layer_type="linear"), total(layer_type="mlp")
    assert linear < total(layer_type="linear,mlp") < mlp
    assert total(dtype="bf16") < linear
    assert total(checkpoint_interval=8) < total(checkpoint_interval=1)
    assert linear < total(layer_type="mlp", expansion_factor=2) < mlp
