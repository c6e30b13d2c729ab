"""How the inner parameters are carried from one mini-batch to the next."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ttt_kernels.reference.mini_batch import InnerGradients


class AdamMoments(NamedTuple):
    """First and second moments of the inner Adam and the number of updates made.

    Attributes:
        first: per tensor of the parameters, all weights and then all biases.
        second: likewise.
        step: complete mini-batches learned so far.
    """

    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]
    step: int


class InnerParameters(NamedTuple):
    """The inner model's parameters at a mini-batch boundary.

    Attributes:
        weights: W_l, (B, H, in, out), or (H, in, out) while still shared by the batch.
        biases: b_l, (B, H, out), or (H, out).
        moments: of the inner Adam; None where the inner optimizer is plain descent.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    moments: AdamMoments | None = None


class Update(Protocol):
    """Takes the step that ends a mini-batch."""

    def __call__(
        self, parameters: InnerParameters, gradients: InnerGradients, last_eta: Tensor
    ) -> InnerParameters:
        """Return the parameters of the next mini-batch.

        Args:
            parameters: those the mini-batch started from.
            gradients: of the mini-batch.
            last_eta: last row of eta as a column, token_eta[M-1] * lr_j, (B, H, M, 1).
        """
        ...


def _sums(gradients: InnerGradients, last_eta: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Sum eta-weighted gradients over the mini-batch: (e * x)^T g and e^T g, per layer."""
    steps = [last_eta * g for g in gradients.outputs]
    weight_sums = [
        x.transpose(-1, -2) @ step for x, step in zip(gradients.inputs, steps, strict=True)
    ]
    return weight_sums, [step.sum(-2) for step in steps]


class SGDUpdate:
    """Gradient descent, W - (e * x)^T g: the update of the paper."""

    def __call__(
        self, parameters: InnerParameters, gradients: InnerGradients, last_eta: Tensor
    ) -> InnerParameters:
        """Take one step; see `Update`."""
        weight_sums, bias_sums = _sums(gradients, last_eta)
        return InnerParameters(
            tuple(w - step for w, step in zip(parameters.weights, weight_sums, strict=True)),
            tuple(b - step for b, step in zip(parameters.biases, bias_sums, strict=True)),
        )


@dataclass(frozen=True)
class AdamUpdate:
    """Adam on the eta-weighted gradients, which are constants to the outer gradient.

    Differentiating through g / sqrt(v) is ill-posed where g is small (its slope at the first step
    is eps / (|g| + eps)^2), so the step is detached: the outer gradient reaches the initial
    parameters through the identity and everything else through the outputs of each mini-batch.
    """

    lr: float
    beta1: float
    beta2: float
    eps: float = 1e-8

    def __call__(
        self, parameters: InnerParameters, gradients: InnerGradients, last_eta: Tensor
    ) -> InnerParameters:
        """Take one step; see `Update`. `parameters.moments` must be given."""
        moments = parameters.moments
        if moments is None:
            raise TypeError("AdamUpdate needs parameters with moments")
        weight_sums, bias_sums = _sums(gradients, last_eta)
        sums = [total.detach() for total in (*weight_sums, *bias_sums)]
        step = moments.step + 1
        first = tuple(
            self.beta1 * m.detach() + (1.0 - self.beta1) * g
            for m, g in zip(moments.first, sums, strict=True)
        )
        second = tuple(
            self.beta2 * v.detach() + (1.0 - self.beta2) * g.square()
            for v, g in zip(moments.second, sums, strict=True)
        )
        correction1, correction2 = 1.0 - self.beta1**step, 1.0 - self.beta2**step
        moved = tuple(
            p - self.lr * (m / correction1) / ((v / correction2).sqrt() + self.eps)
            for p, m, v in zip(
                (*parameters.weights, *parameters.biases), first, second, strict=True
            )
        )
        layers = len(parameters.weights)
        return InnerParameters(moved[:layers], moved[layers:], AdamMoments(first, second, step))
