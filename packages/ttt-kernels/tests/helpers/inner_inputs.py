"""Random arguments for the tests of the inner loop."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ttt_kernels import ttt_mlp


@dataclass(frozen=True)
class InnerInputs:
    """Arguments of one call, random enough that every one of them matters."""

    q: Tensor
    k: Tensor
    v: Tensor
    token_eta: Tensor
    lr: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    ln_w: Tensor
    ln_b: Tensor
    mini_batch_size: int

    def named(self) -> dict[str, Tensor]:
        names = ("q", "k", "v", "token_eta", "lr", "ln_w", "ln_b")
        return {
            **{name: getattr(self, name) for name in names},
            **{f"weights[{i}]": w for i, w in enumerate(self.weights)},
            **{f"biases[{i}]": b for i, b in enumerate(self.biases)},
        }

    def run(self, **options: Any) -> tuple[Tensor, ...]:
        """Output, weights and biases of `ttt_mlp`, flat."""
        options.setdefault("mini_batch_size", self.mini_batch_size)
        out, weights, biases = ttt_mlp(
            self.q,
            self.k,
            self.v,
            self.token_eta,
            self.lr,
            self.weights,
            self.biases,
            self.ln_w,
            self.ln_b,
            **options,
        )
        return (out, *weights, *biases)

    def require_grad(self) -> "InnerInputs":
        for tensor in self.named().values():
            tensor.requires_grad_()
        return self

    def with_tokens(self, dtype: torch.dtype) -> "InnerInputs":
        return replace(self, q=self.q.to(dtype), k=self.k.to(dtype), v=self.v.to(dtype))

    def tokens(self, start: int, stop: int) -> "InnerInputs":
        cut = slice(start, stop)
        return replace(
            self, q=self.q[:, cut], k=self.k[:, cut], v=self.v[:, cut], lr=self.lr[:, cut]
        )


def make_inputs(
    *,
    layers: int = 1,
    batch: int = 2,
    tokens: int = 11,
    heads: int = 2,
    head_dim: int = 6,
    expansion: int = 3,
    mini_batch_size: int = 4,
    shared: bool = True,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> InnerInputs:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return (torch.randn(*shape, generator=rng, dtype=torch.float64) * scale + shift).to(dtype)

    widths = [head_dim, *[expansion * head_dim] * (layers - 1), head_dim]
    lead = (heads,) if shared else (batch, heads)
    shape = (batch, tokens, heads, head_dim)
    return InnerInputs(
        q=normal(*shape),
        k=normal(*shape),
        v=normal(*shape),
        token_eta=normal(mini_batch_size, scale=0.1).abs() + 0.05,
        lr=normal(batch, tokens, heads, scale=0.1).abs(),
        weights=tuple(normal(*lead, i, o, scale=i**-0.5) for i, o in itertools.pairwise(widths)),
        biases=tuple(normal(*lead, o, scale=0.2) for o in widths[1:]),
        ln_w=normal(heads, head_dim, scale=0.3, shift=1.0),
        ln_b=normal(heads, head_dim, scale=0.3),
        mini_batch_size=mini_batch_size,
    )
