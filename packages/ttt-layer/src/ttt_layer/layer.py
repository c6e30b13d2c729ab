"""The TTT layer: projections around an inner model that learns from its keys and values."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ttt_config import ModelConfig
from ttt_config.mix import LayerSpec
from ttt_core import InnerLearningRate, InnerState, build_inner
from ttt_layer.conv import CausalConv
from ttt_layer.rope import rotate


@dataclass(frozen=True)
class LayerState:
    """What one TTT layer carries on: the inner model's state and the convolution's last inputs.

    Attributes:
        inner: state of the inner model.
        conv_tail: last inputs of the q and k convolutions, (B, k - 1, C); None without `share_qk`.
    """

    inner: InnerState
    conv_tail: Tensor | None


class TTTLayer(nn.Module):
    """Sequence mixing by test-time training (arXiv 2407.04620, section 2).

    q, k, v projections; with `share_qk` one projection for q and k, told apart by a convolution
    each; rotation of q and k; the inner loop; LayerNorm over the full width; an optional gate;
    the output projection. What is projected from the layer's input is one matrix, read once.

    Attributes:
        projected: what `in_proj` computes, width C each, in its order of rows.

    Args:
        config: of the model.
        spec: inner kind and preferred kernel of this layer.

    Raises:
        KernelUnavailableError: the kernel named in the configuration cannot run here.
    """

    def __init__(self, config: ModelConfig, spec: LayerSpec) -> None:
        super().__init__()
        width, heads, head_dim = config.hidden_size, config.num_heads, config.head_dim
        self.num_heads, self.head_dim = heads, head_dim
        optional = {"k": not config.share_qk, "gate": config.use_gate}
        self.projected = tuple(x for x in ("q", "k", "v", "gate") if optional.get(x, True))
        self.in_proj = nn.Linear(width, len(self.projected) * width, bias=False)
        self.q_conv = CausalConv(width, config.conv_kernel) if config.share_qk else None
        self.k_conv = CausalConv(width, config.conv_kernel) if config.share_qk else None
        self.o_proj = nn.Linear(width, width, bias=False)
        self.post_norm = nn.LayerNorm(width, eps=1e-6)
        self.eta = InnerLearningRate(
            width, heads, head_dim, config.inner.base_lr, config.inner.mini_batch_size
        )
        self.inner = build_inner(spec, head_dim, heads, config.inner)

    def initial_state(self, batch_size: int) -> LayerState:
        """The state before the first token."""
        tail = None if self.q_conv is None else self.q_conv.initial_tail(batch_size)
        return LayerState(self.inner.initial_state(batch_size), tail)

    def forward(
        self, x: Tensor, rotary: Tensor | None, state: LayerState
    ) -> tuple[Tensor, LayerState]:
        """Read T tokens on from `state`.

        Args:
            x: normalised residual stream, (B, T, C).
            rotary: rotation of q and k by position (`rotation`), None for none.
            state: of this layer.

        Returns:
            Output (B, T, C) and the state after these tokens.
        """
        parts = self.in_proj(x).chunk(len(self.projected), -1)
        projected = dict(zip(self.projected, parts, strict=True))
        q, k, tail = self._told_apart(projected["q"], projected.get("k"), state.conv_tail)
        shape = (*x.shape[:-1], self.num_heads, self.head_dim)
        q, k, v = (t.view(shape) for t in (q, k, projected["v"]))
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        out, inner = self.inner(q, k, v, self.eta.token_eta(), self.eta(x), state.inner)
        out = self.post_norm(out.flatten(-2))
        if "gate" in projected:
            out = functional.gelu(projected["gate"], approximate="tanh") * out
        return self.o_proj(out), LayerState(inner, tail)

    def _told_apart(
        self, q: Tensor, k: Tensor | None, tail: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Q and k (B, T, C), from a projection each or from a shared one and a convolution each."""
        if k is not None:
            return q, k, None
        if self.q_conv is None or self.k_conv is None or tail is None:
            raise RuntimeError(
                "a layer whose q and k share a projection has convolutions and a state with their "
                "tail"
            )
        k, next_tail = self.k_conv(q, tail)
        return self.q_conv(q, tail)[0], k, next_tail
