"""The inner loop: how the fast weights of one TTT layer learn while a sequence is read."""

from typing import Annotated, Literal

from msgspec import Struct

from ttt_config.option import Count, Decay, Positive, option

KernelName = Literal[
    "auto",
    "reference",
    "cpu",
    "naive",
    "naive-multi",
    "tile",
    "tile-multi",
    "d2d-streaming",
    "ptr-streaming",
]


class InnerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The inner model's learning rule and how it is computed (table `model.inner`)."""

    base_lr: Annotated[
        Positive, option("base learning rate of the inner step", keys=("ttt_base_lr",))
    ] = 1.0
    mini_batch_size: Annotated[
        Count, option("tokens per inner step", "--mini-batch-size", "--mini-batch")
    ] = 16
    expansion_factor: Annotated[
        Count,
        option(
            "width of the inner MLP in head dimensions",
            "--mlp-expansion-factor",
            "--expansion-factor",
            keys=("mlp_expansion",),
        ),
    ] = 4
    kernel: Annotated[
        KernelName, option("implementation of the inner loop; auto: the fastest that can run")
    ] = "auto"
    checkpoint_interval: Annotated[
        Count | None,
        option(
            "mini-batches between the states kept for the backward pass; none: the kernel's choice"
        ),
    ] = None
    adam_lr: Annotated[Positive, option("step size of linear-adam")] = 0.001
    adam_beta1: Annotated[Decay, option("decay of the first moment of linear-adam")] = 0.9
    adam_beta2: Annotated[Decay, option("decay of the second moment of linear-adam")] = 0.999
    eps: Annotated[Positive, option("added to the variance in the inner norm", "--epsilon")] = 1e-6
