"""The optimizer's tensors, given back to it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ttt_training.optimizer_state import optimizer_tensors, restore_optimizer


@pytest.mark.parametrize("fused", [True, False])
def test_the_count_of_steps_is_where_the_optimizer_wants_it(fused: bool) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tensors = {name: value.clone() for name, value in optimizer_tensors(model, optimizer).items()}
    elsewhere = nn.Linear(3, 2, device="meta")
    target = torch.optim.AdamW(elsewhere.parameters())
    target.param_groups[0]["fused"] = fused  # as it is on a GPU; torch refuses it on `meta`
    restore_optimizer(Path("optim.safetensors"), tensors, elsewhere, target)
    for state in target.state.values():
        assert state["exp_avg"].device.type == state["exp_avg_sq"].device.type == "meta"
        assert state["step"].device.type == ("meta" if fused else "cpu")
