"""The outer loop: optimizer, schedule and how often something is logged, evaluated or saved."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ttt_config.option import Count, Decay, Natural, NonNegative, Positive, option

Dtype = Literal["f32", "bf16", "f16"]

_DTYPE_SPELLINGS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def _canonical_dtype(text: str) -> str:
    return _DTYPE_SPELLINGS.get(text.lower(), text.lower())


class TrainConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training run (table `train`)."""

    steps: Annotated[Count, option("optimizer steps")] = 300
    tokens: Annotated[
        Count | None, option("length of the run in training tokens; wins over steps")
    ] = None
    epochs: Annotated[
        Positive | None, option("length of the run in passes over the text; wins over steps")
    ] = None
    samples: Annotated[
        Count | None, option("windows an epoch counts; none: all windows of the text")
    ] = None
    batch_size: Annotated[
        Count, option("sequences per forward pass", "--batch-size", "--batch")
    ] = 8
    grad_accum_steps: Annotated[
        Count,
        option("forward passes per optimizer step", "--grad-accum-steps", "--grad-accum"),
    ] = 1
    lr: Annotated[Positive, option("peak learning rate")] = 3e-3
    min_lr: Annotated[NonNegative, option("learning rate at the last step")] = 1e-5
    schedule: Annotated[
        Literal["cosine", "noam"],
        option("warm-up and cosine; or that of Vaswani et al., of which lr is then the factor"),
    ] = "cosine"
    warmup_steps: Annotated[Natural, option("steps of linear warm-up")] = 30
    beta1: Annotated[Decay, option("AdamW decay of the first moment")] = 0.9
    beta2: Annotated[Decay, option("AdamW decay of the second moment")] = 0.95
    weight_decay: Annotated[NonNegative, option("AdamW weight decay")] = 0.1
    decay: Annotated[
        Literal["all", "matrices"],
        option("what decays: all parameters, as officially, or no norms, biases and vectors"),
    ] = "all"
    max_grad_norm: Annotated[
        Positive,
        option("gradients are scaled down to this norm", "--max-grad-norm", "--grad-clip-norm"),
    ] = 1.0
    dtype: Annotated[
        Dtype,
        option(
            "arithmetic of the model; bf16, f16: autocast, the parameters stay f32",
            normalize=_canonical_dtype,
        ),
    ] = "f32"
    inner_lr_warmup_steps: Annotated[
        Natural, option("steps in which the inner learning rate rises from a tenth to the whole")
    ] = 0
    activation_checkpointing: Annotated[
        bool, option("compute each block again in the backward pass, to save memory")
    ] = False
    compile: Annotated[bool, option("compile the blocks by torch.compile")] = False
    on_nonfinite: Annotated[
        Literal["stop", "skip", "rollback"],
        option("at a loss or gradient that is no number; rollback: to the last checkpoint"),
    ] = "stop"
    eval_every: Annotated[Count, option("steps between evaluations")] = 100
    eval_samples: Annotated[
        Natural,
        option(
            "windows per evaluation, the first of the text; 0: the whole split",
            "--eval-samples",
            "--test-samples",
        ),
    ] = 0
    log_every: Annotated[Count, option("steps between logged losses")] = 10
    save_every: Annotated[Count, option("steps between checkpoints")] = 100
    keep_last: Annotated[
        Count, option("checkpoints to keep, the newest; that of the lowest val loss stays, too")
    ] = 3
    log_to: Annotated[
        Literal["none", "tensorboard", "trackio", "wandb"],
        option("where else the run's numbers go; metrics.jsonl is written always"),
    ] = "none"
    seed: Annotated[
        Natural, Meta(le=2**63 - 1), option("seed of the parameters and of the data order")
    ] = 0
