"""One block of the language model: optional convolution, TTT layer, SwiGLU MLP, all residual."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ttt_config import ModelConfig
from ttt_config.mix import LayerSpec
from ttt_layer.conv import CausalConv
from ttt_layer.layer import LayerState, TTTLayer
from ttt_layer.norm import RMSNorm


@dataclass(frozen=True)
class BlockState:
    """What one block carries on.

    Attributes:
        ttt: state of the TTT layer.
        pre_conv_tail: last inputs of the block's convolution, (B, k - 1, C); None without it.
    """

    ttt: LayerState
    pre_conv_tail: Tensor | None


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), no biases; gate and up are one matrix, in this order of rows.

    Args:
        hidden_size: C.
        intermediate_size: width between.
    """

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(hidden_size, 2 * intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(functional.silu(gate) * up)


class TTTBlock(nn.Module):
    """Pre-norm residual block around a TTT layer.

    Args:
        config: of the model.
        spec: inner kind and preferred kernel of this block's layer.
    """

    def __init__(self, config: ModelConfig, spec: LayerSpec) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.pre_conv_norm = RMSNorm(width, eps) if config.pre_conv else None
        self.pre_conv = CausalConv(width, config.conv_kernel) if config.pre_conv else None
        self.ttt_norm = RMSNorm(width, eps)
        self.ttt = TTTLayer(config, spec)
        self.mlp_norm = RMSNorm(width, eps)
        self.mlp = SwiGLU(width, config.intermediate_size)

    def initial_state(self, batch_size: int) -> BlockState:
        """The state before the first token."""
        tail = None if self.pre_conv is None else self.pre_conv.initial_tail(batch_size)
        return BlockState(self.ttt.initial_state(batch_size), tail)

    def forward(
        self, h: Tensor, rotary: Tensor | None, state: BlockState
    ) -> tuple[Tensor, BlockState]:
        """Read T tokens on from `state`: residual stream h (B, T, C) in, h and the state out."""
        tail = state.pre_conv_tail
        if self.pre_conv is not None and self.pre_conv_norm is not None and tail is not None:
            convolved, tail = self.pre_conv(self.pre_conv_norm(h), tail)
            h = h + convolved
        mixed, ttt = self.ttt(self.ttt_norm(h), rotary, state.ttt)
        h = h + mixed
        return h + self.mlp(self.mlp_norm(h)), BlockState(ttt, tail)
