"""What all kernels of TTT-Linear are given: tensors and strides, in named groups.

Triton hands a named tuple to a kernel as it is. A number in it is always specialised: whether it is
1 or divisible by 16 is compiled in. So what grows with the tokens, as strides of the rates do,
stays outside.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor


class Strided(NamedTuple):
    """A tensor of tokens, (B, T, H, D), whose features are next to each other.

    Attributes:
        pointer: of the first element.
        batch: elements from one sequence to the next.
        token: from one token to the next.
        head: from one head to the next.
    """

    pointer: Any
    batch: Any
    token: Any
    head: Any

    @classmethod
    def of(cls, tokens: Tensor) -> "Strided":
        """Copy the tokens if their features are apart."""
        tokens = tokens if tokens.stride(3) == 1 else tokens.contiguous()
        return cls(tokens, *tokens.stride()[:3])


class State(NamedTuple):
    """The inner model, or gradients of it.

    Attributes:
        weight: (B, H, D, D), or (H, D, D) if the sequences share it.
        bias: (B, H, D) or (H, D).
    """

    weight: Any
    bias: Any


class Start(NamedTuple):
    """Where a launch of the forward pass starts.

    Attributes:
        state: before its first token.
        count: models in it: B H, or H if the sequences share them.
        first: the state before the first token of all, which is another in a later launch.
        first_count: models in it.
    """

    state: State
    count: Any
    first: State
    first_count: Any


class Inputs(NamedTuple):
    """What is read, besides the rates and the state of the moment.

    Attributes:
        q: queries.
        k: keys.
        v: values.
        token_eta: step size by position in the mini-batch, (M,).
        ln_w: weight of the inner layer norm, (H, D).
        ln_b: its bias, (H, D).
    """

    q: Strided
    k: Strided
    v: Strided
    token_eta: Any
    ln_w: Any
    ln_b: Any


class Gradients(NamedTuple):
    """What the backward pass fills in. Sums over the batch come last, for their order to be fixed.

    Those of q, k, v and lr are contiguous tensors of all tokens, or spans of such.

    Attributes:
        q: (B, T, H, D).
        k: (B, T, H, D).
        v: (B, T, H, D).
        lr: (B, T, H).
        token_eta: added to, (B, H, M).
        ln_w: added to, (B, H, D).
        ln_b: added to, (B, H, D).
        state: in: gradients of the final state; out: of the initial one.
    """

    q: Any
    k: Any
    v: Any
    lr: Any
    token_eta: Any
    ln_w: Any
    ln_b: Any
    state: State


@triton.jit
def first_tokens(inputs: Inputs, batch: tl.tensor, head: tl.tensor) -> tuple[tl.tensor, ...]:
    """Pointers to the first token of a sequence and head: its q, k and v."""
    q, k, v = inputs.q, inputs.k, inputs.v
    return (
        q.pointer + batch * q.batch + head * q.head,
        k.pointer + batch * k.batch + head * k.head,
        v.pointer + batch * v.batch + head * v.head,
    )
