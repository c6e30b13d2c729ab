import torch
from torch import nn

from ttt_config import TrainConfig
from ttt_training.optim import build_optimizer


def test_every_parameter_decays_also_norms_and_biases() -> None:
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 8), nn.LayerNorm(8))
    settings = TrainConfig(lr=0.5, weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model.parameters(), settings).step()
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old * (1 - 0.5 * 0.1))
