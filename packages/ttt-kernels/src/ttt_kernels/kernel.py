"""What a kernel is: the seam between the operators and whatever computes them.

The operators in `operators` check nothing and compute nothing. They hand an `InnerLoop` to a
`Kernel`, found by name in `dispatch`, and hand what it saved back to it in the backward pass. To
add a kernel, write a class with the members of `Kernel` and enter an instance in
`dispatch.INSTALLED`; the tests of the package then hold it against the reference.

What a kernel may rely on, because `ops` and `operators` see to it:

* shapes are as `InnerLoop` says, everything is on one device, T >= 1;
* all but q, k and v have one dtype, the state's: float32, or float64 where results shall be exact.
  The tokens q, k, v have any float dtype and any strides, and each its own;
* neither autograd nor autocast is on.

What it has to keep:

* compute in the state's dtype whatever the dtype of the tokens;
* return fresh tensors: no output may share memory with an argument or with another output;
* two runs are equal bit for bit, so sums over the batch are made in a fixed order;
* a remainder of T mod M tokens is answered but not learned from;
* Adam's step is a constant to the outer gradient: what `Upstream` says of the final state reaches
  the initial state unchanged, and tokens through the outputs of their own mini-batch alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from ttt_kernels.reference.update import AdamUpdate, InnerParameters


@dataclass(frozen=True)
class InnerLoop:
    """The arguments of one pass of the inner loop over T tokens from a mini-batch boundary.

    Attributes:
        q: queries, (B, T, H, D), any float dtype and strides.
        k: keys, like `q`.
        v: values, like `q`; the inner target is v - k.
        token_eta: step size by position in the mini-batch, (M,).
        lr: learned step size of each token, (B, T, H).
        parameters: the state to start from. Weights (H, in, out) and biases (H, out) shared by the
            batch, or (B, H, in, out) and (B, H, out); with Adam also moments, (B, H, ...) each.
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: bias of the inner layer norm, (H, D).
        mini_batch_size: M.
        eps: added to the variance of the inner layer norm.
        checkpoint_interval: mini-batches between the states stored for the backward pass; None
            leaves it to the kernel, which then takes what is fastest.
        adam: the step that ends a mini-batch; None is gradient descent.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    token_eta: Tensor
    lr: Tensor
    parameters: InnerParameters
    ln_w: Tensor
    ln_b: Tensor
    mini_batch_size: int
    eps: float
    checkpoint_interval: int | None = None
    adam: AdamUpdate | None = None


class ForwardResult(NamedTuple):
    """What `Kernel.forward` returns.

    Attributes:
        output: (B, T, H, D) contiguous, in the dtype of q.
        parameters: after the last complete mini-batch, weights (B, H, in, out), biases (B, H, out)
            and, with Adam, moments.
        saved: what `Kernel.backward` needs besides the arguments; shaped as `saved_like` says, and
            empty unless asked for.
    """

    output: Tensor
    parameters: InnerParameters
    saved: list[Tensor]


class Upstream(NamedTuple):
    """Gradients that arrive at a kernel's results; None stands for zero.

    Attributes:
        output: (B, T, H, D) in the dtype of q, any strides (an expanded scalar, say).
        weights: per layer (B, H, in, out), any strides.
        biases: per layer (B, H, out), any strides.
    """

    output: Tensor | None
    weights: Sequence[Tensor | None]
    biases: Sequence[Tensor | None]


class ArgumentGradients(NamedTuple):
    """What `Kernel.backward` returns: each shaped like the argument and in its dtype.

    A gradient of weights or biases shared by the batch, of token_eta and of the layer norm is
    summed over the batch. The moments of Adam have none.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    token_eta: Tensor
    lr: Tensor
    weights: list[Tensor]
    biases: list[Tensor]
    ln_w: Tensor
    ln_b: Tensor


class Kernel(Protocol):
    """Computes the inner loop and its gradients."""

    def refusal(self, loop: InnerLoop) -> str | None:
        """Say in a few words why these arguments cannot be computed here; None if they can.

        May look at shapes, dtypes, devices and options, not at values: it is also asked while
        `torch.compile` traces.
        """
        ...

    def saved_like(self, loop: InnerLoop) -> list[Tensor]:
        """Empty tensors of the shapes and dtypes `forward` saves, by shapes of `loop` alone.

        Sizes may be symbols of `torch.compile`, which know no `divmod`.
        """
        ...

    def forward(self, loop: InnerLoop, *, save: bool) -> ForwardResult:
        """Compute the output and the final state; with `save`, also what `backward` needs."""
        ...

    def backward(
        self, loop: InnerLoop, saved: Sequence[Tensor], upstream: Upstream
    ) -> ArgumentGradients:
        """Compute the gradient of every argument.

        Args:
            loop: that of the forward pass.
            saved: by `forward`.
            upstream: gradients of its results.
        """
        ...
