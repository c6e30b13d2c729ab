import torch
from torch import nn

from ttt_config import ModelConfig, TrainConfig
from ttt_layer import TTTModel
from ttt_training.optim import build_optimizer


def test_every_parameter_decays_also_norms_and_biases() -> None:
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 8), nn.LayerNorm(8))
    settings = TrainConfig(lr=0.5, weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, settings).step()
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old * (1 - 0.5 * 0.1))


def test_only_matrices_decay_if_asked_for() -> None:
    config = ModelConfig(vocab_size=9, hidden_size=16, num_heads=2, num_layers=1)
    model = TTTModel(config)
    optimizer = build_optimizer(model, TrainConfig(decay="matrices", weight_decay=0.3))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, spared = (
        {names[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert decayed | spared == set(names.values())
    assert "embed.weight" in decayed
    assert any("inner.weights" in name for name in decayed)
    assert all("bias" in name or "norm" in name or "token_idx" in name for name in spared)
    assert not any("bias" in name or "norm" in name or "token_idx" in name for name in decayed)
