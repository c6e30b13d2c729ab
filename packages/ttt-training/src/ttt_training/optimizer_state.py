"""The state of an optimizer and of the loss scale as tensors with names."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from ttt_training.tensors import check_fit

_SCALE = "loss_scale."


def optimizer_tensors(
    model: nn.Module, optimizer: Optimizer, scaler: GradScaler | None = None
) -> dict[str, Tensor]:
    """Name AdamW's tensors after the parameters they belong to; none before its first step.

    Args:
        model: whose parameters the optimizer moves.
        optimizer: AdamW.
        scaler: if it is enabled, its state is there too, as scalars.
    """
    found = {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return found | _scaler_tensors(scaler)


def restore_optimizer(
    path: Path,
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: Optimizer,
    scaler: GradScaler | None = None,
) -> None:
    """Give an optimizer and a scaler the state that `optimizer_tensors` named.

    Args:
        path: file the tensors are from, for messages.
        tensors: by name.
        model: whose parameters the optimizer moves.
        optimizer: receives the moments, on the devices of the parameters, and the count of steps,
            which is there, too, if AdamW is fused, and on the CPU if not.
        scaler: receives the loss scale, if it is enabled.

    Raises:
        CheckpointMismatchError: the tensors are not those of this optimizer.
    """
    scale = _scaler_tensors(scaler)
    # All steps before the first save may have been left out: then there are no moments yet.
    moments = _moments_after_a_step(model) if tensors.keys() - scale.keys() else {}
    check_fit(path, tensors, moments | scale)
    optimizer.state.clear()
    fused = {p for group in optimizer.param_groups if group["fused"] for p in group["params"]}
    for name, parameter in model.named_parameters() if moments else ():
        step = tensors[f"{name}.step"]
        optimizer.state[parameter] = {
            "step": step.to(parameter.device) if parameter in fused else step,
            "exp_avg": tensors[f"{name}.exp_avg"].to(parameter.device),
            "exp_avg_sq": tensors[f"{name}.exp_avg_sq"].to(parameter.device),
        }
    if scaler is not None and scaler.is_enabled():
        state = scaler.state_dict()
        scaler.load_state_dict(
            {key: type(value)(tensors[_SCALE + key].item()) for key, value in state.items()}
        )


def _scaler_tensors(scaler: GradScaler | None) -> dict[str, Tensor]:
    if scaler is None:
        return {}
    return {
        _SCALE + key: torch.tensor(float(value), dtype=torch.float64)
        for key, value in scaler.state_dict().items()
    }


def _moments_after_a_step(model: nn.Module) -> dict[str, Tensor]:
    """Shapes and dtypes of what AdamW holds after a step."""
    expected: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        like = torch.empty_like(parameter, device="meta")
        step = torch.empty((), dtype=torch.float32, device="meta")
        expected |= {
            f"{name}.step": step,
            f"{name}.exp_avg": like,
            f"{name}.exp_avg_sq": like,
        }
    return expected
