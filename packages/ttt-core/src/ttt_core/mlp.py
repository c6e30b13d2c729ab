"""TTT-MLP: an inner model with hidden layers."""

from torch import Tensor

from ttt_config import InnerConfig
from ttt_core.inner import InnerModel
from ttt_kernels import ttt_mlp
from ttt_kernels.reference import InnerParameters, SGDUpdate
from ttt_kernels.reference.update import Update


class TTTMLP(InnerModel):
    """f(x) = gelu(... gelu(x W1 + b1) ...) W_L + b_L per head (arXiv 2407.04620, section 2.7).

    Args:
        head_dim: D.
        num_heads: H.
        hidden_layers: 1 for the paper's TTT-MLP (`mlp`), 2 to 4 for `mlp2` to `mlp4`.
        config: mini-batch size, eps of the inner layer norm, checkpoint interval, expansion factor.
        kernel: name of the kernel that computes the inner loop.
    """

    def __init__(
        self,
        head_dim: int,
        num_heads: int,
        config: InnerConfig,
        kernel: str = "auto",
        *,
        hidden_layers: int = 1,
    ) -> None:
        hidden = [config.expansion_factor * head_dim] * hidden_layers
        super().__init__((head_dim, *hidden, head_dim), num_heads, config, kernel)

    def _read(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        parameters: InnerParameters,
    ) -> tuple[Tensor, InnerParameters]:
        out, weights, biases = ttt_mlp(
            q,
            k,
            v,
            token_eta,
            lr,
            parameters.weights,
            parameters.biases,
            self.norm_weight,
            self.norm_bias,
            **self.options,
        )
        return out, InnerParameters(weights, biases)

    def _update(self) -> Update:
        return SGDUpdate()
