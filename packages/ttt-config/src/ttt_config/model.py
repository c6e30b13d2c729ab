"""The language model: its shape, its blocks and what each TTT layer contains."""

from typing import Annotated, Literal, NamedTuple

from msgspec import Struct

from ttt_config.errors import IncompatibleError
from ttt_config.inner import InnerConfig
from ttt_config.mix import MixPattern, canonical_mix
from ttt_config.option import Count, Positive, option

Size = Literal["12m", "60m", "125m", "125m-h32", "350m", "760m", "1b"]
Backbone = Literal["transformer", "mamba"]
PosEncoding = Literal["rope", "rope-global", "none", "absolute"]


class Shape(NamedTuple):
    """What a size stands for; the fields are those of `ModelConfig`."""

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int


SIZES: dict[Size, Shape] = {
    "12m": Shape(256, 6, 4, 512),
    "60m": Shape(512, 6, 8, 768),
    "125m": Shape(768, 12, 12, 2048),
    "125m-h32": Shape(768, 12, 24, 2048),
    "350m": Shape(1024, 24, 16, 2736),
    "760m": Shape(1536, 24, 16, 4096),
    "1b": Shape(2048, 24, 32, 5504),
}

BACKBONES: dict[Backbone, dict[str, bool]] = {
    "transformer": {"pre_conv": False, "share_qk": False, "use_gate": False},
    "mamba": {"pre_conv": True, "share_qk": True, "use_gate": True},
}


def _canonical_size(text: str) -> str:
    return {"1.3b": "1b"}.get(text.lower(), text.lower())  # 1.3b: the paper's name


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model (table `model`); `size` and `backbone` fill what is not given explicitly."""

    size: Annotated[
        Size,
        option(
            "preset of hidden_size, num_layers, num_heads and intermediate_size",
            "--size",
            "--model-size",
            normalize=_canonical_size,
        ),
    ] = "12m"
    backbone: Annotated[
        Backbone, option("preset of the block; mamba: pre_conv, share_qk and use_gate")
    ] = "transformer"
    vocab_size: Annotated[Count | None, option("rows of the embedding; none: the tokenizer's")] = (
        None
    )
    hidden_size: Annotated[Count, option("width of the residual stream")] = 256
    num_layers: Annotated[Count, option("number of blocks")] = 6
    num_heads: Annotated[Count, option("inner models per layer")] = 4
    intermediate_size: Annotated[Count, option("width of the SwiGLU MLP")] = 512
    layer_type: Annotated[
        str,
        option(
            "inner model of each layer, repeated: linear, mlp, 4*linear,mlp",
            keys=("inner",),
            normalize=canonical_mix,
        ),
    ] = "linear"
    pos_encoding: Annotated[
        PosEncoding,
        option("positions; rope: within a mini-batch, rope-global: within the sequence"),
    ] = "rope"
    rope_theta: Annotated[Positive, option("base of the rotary wavelengths")] = 10000.0
    max_seq_len: Annotated[
        Count,
        option(
            "tokens of a training window, rows of the absolute table", "--max-seq-len", "--seq-len"
        ),
    ] = 512
    pre_conv: Annotated[
        bool,
        option("causal convolution before the TTT layer", "--pre-conv", "--conv-before-ttt"),
    ] = False
    share_qk: Annotated[
        bool, option("one projection for q and k, told apart by a causal convolution each")
    ] = False
    use_gate: Annotated[bool, option("gate the output of the TTT layer")] = False
    conv_kernel: Annotated[
        Count,
        option("taps of the causal convolutions", "--conv-kernel", "--conv-kernel-size"),
    ] = 4
    conv_init: Annotated[
        Literal["torch", "jax"], option("initial convolution weights, as the named official code")
    ] = "torch"
    tie_embeddings: Annotated[
        bool,
        option("use the embedding as the output head", "--tie-embeddings", "--tie-word-embeddings"),
    ] = True
    rms_norm_eps: Annotated[Positive, option("added to the mean square in RMSNorm")] = 1e-6
    init_std: Annotated[
        Positive,
        option("standard deviation of the initial weights", keys=("initializer_range",)),
    ] = 0.02
    inner: InnerConfig = InnerConfig()

    def __post_init__(self) -> None:
        """Check what concerns several fields, also for a directly constructed Struct."""
        if self.hidden_size % self.num_heads:
            raise IncompatibleError(
                f"num_heads must divide hidden_size, got num_heads {self.num_heads} "
                f"and hidden_size {self.hidden_size}"
            )
        if self.pos_encoding in {"rope", "rope-global"} and self.head_dim % 2:
            raise IncompatibleError(
                f"rotary positions need an even head_dim, got hidden_size / num_heads = "
                f"{self.head_dim}; choose other sizes or pos_encoding none or absolute"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head, and of the inner model's input and output."""
        return self.hidden_size // self.num_heads

    @property
    def mix(self) -> MixPattern:
        """The pattern that `layer_type` spells."""
        return MixPattern.parse(self.layer_type)
