"""TTT-Linear, and its variant whose state is carried by Adam."""

from torch import Tensor

from ttt_config import InnerConfig
from ttt_core.inner import InnerModel
from ttt_kernels import ttt_linear, ttt_linear_adam
from ttt_kernels.reference import AdamMoments, AdamUpdate, InnerParameters, SGDUpdate
from ttt_kernels.reference.update import Update


class TTTLinear(InnerModel):
    """f(x) = x W + b per head (arXiv 2407.04620, section 2.7).

    Args:
        head_dim: D.
        num_heads: H.
        config: mini-batch size, eps of the inner layer norm, checkpoint interval.
        kernel: name of the kernel that computes the inner loop.
    """

    def __init__(
        self, head_dim: int, num_heads: int, config: InnerConfig, kernel: str = "auto"
    ) -> None:
        super().__init__((head_dim, head_dim), num_heads, config, kernel)

    def _read(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        parameters: InnerParameters,
    ) -> tuple[Tensor, InnerParameters]:
        out, weight, bias = ttt_linear(
            q,
            k,
            v,
            token_eta,
            lr,
            parameters.weights[0],
            parameters.biases[0],
            self.norm_weight,
            self.norm_bias,
            **self.options,
        )
        return out, InnerParameters((weight,), (bias,))

    def _update(self) -> Update:
        return SGDUpdate()


class TTTLinearAdam(TTTLinear):
    """TTT-Linear whose state crosses mini-batch boundaries by a step of Adam.

    Arguments as `TTTLinear`; Adam's step size and decays are those of `config`.
    """

    def _initial_moments(self, batch_size: int) -> tuple[Tensor, ...]:
        start = self.initial_parameters()
        shapes = [(batch_size, *p.shape) for p in (*start.weights, *start.biases)]
        return tuple(start.weights[0].new_zeros(shape) for shape in (*shapes, *shapes))

    def _read(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        token_eta: Tensor,
        lr: Tensor,
        parameters: InnerParameters,
    ) -> tuple[Tensor, InnerParameters]:
        moments = parameters.moments
        if moments is None:
            raise TypeError("linear-adam reads on from parameters with moments")
        out, weight, bias, first, second = ttt_linear_adam(
            q,
            k,
            v,
            token_eta,
            lr,
            parameters.weights[0],
            parameters.biases[0],
            self.norm_weight,
            self.norm_bias,
            (moments.first[0], moments.first[1]),
            (moments.second[0], moments.second[1]),
            moments.step,
            beta1=self.config.adam_beta1,
            beta2=self.config.adam_beta2,
            adam_lr=self.config.adam_lr,
            **self.options,
        )
        step = moments.step + k.shape[1] // self.config.mini_batch_size
        return out, InnerParameters((weight,), (bias,), AdamMoments(first, second, step))

    def _update(self) -> Update:
        return AdamUpdate(self.config.adam_lr, self.config.adam_beta1, self.config.adam_beta2)
