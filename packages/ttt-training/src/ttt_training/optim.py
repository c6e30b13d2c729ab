"""The outer optimizer."""

from torch import nn
from torch.optim import AdamW

from ttt_config import TrainConfig


def build_optimizer(model: nn.Module, settings: TrainConfig) -> AdamW:
    """Build AdamW; `settings.decay` says which parameters decay.

    The official recipe excludes nothing (`all`): norms, biases, embeddings, the initial inner
    weights and the learnable token positions are decayed like the projections. It is the default,
    so that learning rates and decay carry over from the paper's runs. `matrices` leaves out what
    has no rows and columns: norms, biases and token positions. A bias of several heads is a vector
    for each, and so is a norm of theirs.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[settings.decay == "all" or _is_matrix(name, parameter)].append(parameter)
    return AdamW(
        [
            {"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0}
            for decays, parameters in groups.items()
            if parameters
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        # One pass over memory instead of ten; but under a loss scale it would count overflows.
        fused=settings.dtype != "f16",
    )


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    return (
        parameter.dim() >= 2
        and not name.endswith("bias")
        and "norm" not in name
        and (".biases." not in name)
    )
