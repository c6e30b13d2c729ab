import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from ttt_config import DataError, ModelConfig
from ttt_data import Batch
from ttt_layer import TTTModel
from ttt_training import evaluate
from ttt_training.evaluation import measure_inner_loss

BYTES = np.array([0, 1, 2, 3] * 5)


@pytest.fixture(scope="module")
def model() -> TTTModel:
    config = ModelConfig(
        vocab_size=20, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=16, init_std=0.2
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TTTModel(config)


def batch(rows: int, seed: int = 0) -> Batch:
    tokens = np.random.default_rng(seed).integers(0, 20, (rows, 17))
    return Batch(inputs=tokens[:, :-1].copy(), targets=tokens[:, 1:].copy())


def surprises(model: nn.Module, one: Batch) -> torch.Tensor:
    """Nats of each target, (B, T), by the plain formula."""
    with torch.no_grad():
        logits = model(torch.from_numpy(one.inputs))
    picked = logits.log_softmax(-1).gather(-1, torch.from_numpy(one.targets)[..., None])
    return -picked.squeeze(-1).double()


def test_every_token_counts_alike_whatever_its_batch(model: TTTModel) -> None:
    batches = [batch(5, seed=1), batch(1, seed=2)]
    found = evaluate(model, batches, byte_lengths=BYTES)
    nats = torch.cat([surprises(model, one).flatten() for one in batches])
    assert found.tokens == 6 * 16
    assert found.loss == pytest.approx(nats.mean().item(), rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


def test_bits_per_byte_count_the_bytes_of_the_predicted_tokens(model: TTTModel) -> None:
    one = batch(3)
    found = evaluate(model, [one], byte_lengths=BYTES)
    expected = surprises(model, one).sum().item() / math.log(2) / BYTES[one.targets].sum()
    assert found.bits_per_byte == pytest.approx(expected, rel=1e-6)


def test_left_out_targets_count_neither_as_tokens_nor_as_bytes(model: TTTModel) -> None:
    one = batch(2)
    kept = surprises(model, one)[:, :8]
    one.targets[:, 8:] = -100
    found = evaluate(model, [one], byte_lengths=BYTES)
    assert found.tokens == 16
    assert found.loss == pytest.approx(kept.mean().item(), rel=1e-6)
    bits = kept.sum().item() / math.log(2)
    assert found.bits_per_byte == pytest.approx(bits / BYTES[one.targets[:, :8]].sum(), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode_and_without_gradients(
    model: TTTModel, training: bool
) -> None:
    model.train(training)
    first = evaluate(model, [batch(2)], byte_lengths=BYTES)
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert evaluate(model, [batch(2)], byte_lengths=BYTES) == first


def test_the_mode_comes_back_after_an_error(model: TTTModel) -> None:
    def failing() -> Iterator[Batch]:
        yield batch(1)
        raise RuntimeError("no more")

    model.train()
    with pytest.raises(RuntimeError, match="no more"):
        evaluate(model, failing(), byte_lengths=BYTES)
    assert model.training


def test_bfloat16_is_near_float32(model: TTTModel) -> None:
    exact = evaluate(model, [batch(4)], byte_lengths=BYTES)
    rounded = evaluate(model, [batch(4)], byte_lengths=BYTES, dtype="bf16")
    assert rounded.loss != exact.loss
    assert rounded.loss == pytest.approx(exact.loss, rel=0.02)


def test_nothing_to_predict_is_an_error(model: TTTModel) -> None:
    with pytest.raises(DataError, match="no token to predict"):
        evaluate(model, [], byte_lengths=BYTES)


def test_inner_models_learn_from_what_they_read(model: TTTModel) -> None:
    found = measure_inner_loss(model, torch.from_numpy(batch(3).inputs))
    assert found is not None
    assert found.after < found.before
    assert measure_inner_loss(model, torch.ones(1, 15, dtype=torch.long)) is None
