"""A small problem for the kernels, to compile them for it and to see whether they are right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ttt_kernels.ops import ttt_linear

if TYPE_CHECKING:
    from ttt_kernels.gpu.launch import Form
    from ttt_kernels.verify.launch import Launch

DIRECTIONS = ("forward", "backward")

TOLERANCES = {torch.bfloat16: 1.5e-2, torch.float16: 3e-3, torch.float32: 1e-4}
"""Largest relative error that rounding explains, by the dtype of the tokens."""


@dataclass(frozen=True)
class Trial:
    """One call of TTT-Linear.

    Attributes:
        family: `naive` or `tile`; their `-multi` forms are the same kernels launched less often.
        head_dim: D.
        mini_batch_size: M.
        dtype: of the tokens.
        mini_batches: that are read.
        sequences: that read them, each the same.
        heads: two by default, because a single one would be a constant to the compiler.
    """

    family: str
    head_dim: int
    mini_batch_size: int
    dtype: torch.dtype = torch.bfloat16
    mini_batches: int = 3
    sequences: int = 1
    heads: int = 2

    def launches(self, target: str) -> dict[str, "Launch"]:
        """Both launches, by direction; none is made."""
        from ttt_kernels.verify.launch import intercepted
        from ttt_kernels.verify.targets import find_target

        found: list[Launch] = []
        with intercepted(found.append, find_target(target)):
            self.run()
        return dict(zip(DIRECTIONS, found, strict=True))

    def forms(self, target: str, form: str) -> dict[str, "Form"]:
        """How the launch table has the kernels launched, by their names.

        Args:
            target: where.
            form: `latency` or `throughput`.
        """
        from ttt_kernels.gpu.launch import Shape, find_forms

        names = [f"{self.family}_{direction}" for direction in DIRECTIONS]
        shape = (self.head_dim, self.mini_batch_size, self.dtype)
        return {n: getattr(find_forms(Shape.of(n, *shape), target), form) for n in names}

    def run(self, device: str = "cpu") -> dict[str, Tensor]:
        """Output, final state and, under random weights of all three, every gradient."""
        return _results(self._arguments(device), self.mini_batch_size, f"{self.family}-multi")

    def call(self, direction: str, device: str) -> Callable[[], object]:
        """One direction alone, to be called again and again.

        Args:
            direction: `forward` or `backward`, for which the forward pass is run here and now.
            device: where.
        """
        leaves = [x.requires_grad_() for x in self._arguments(device)]

        def forward() -> Tensor:
            options = {"mini_batch_size": self.mini_batch_size, "kernel": f"{self.family}-multi"}
            return ttt_linear(*leaves, **options)[0]

        if direction == "forward":
            return torch.no_grad()(forward)
        output = forward()
        upstream = torch.randn_like(output)
        return lambda: torch.autograd.grad(output, leaves, upstream, retain_graph=True)

    def error(self, found: dict[str, Tensor]) -> tuple[float, str]:
        """The largest relative error of what was found, and of which result.

        In the root mean square, against the reference in float64 on the same numbers.
        """
        exact = [x.double() for x in self._arguments("cpu")]
        expected = _results(exact, self.mini_batch_size, "reference")

        def relative(name: str) -> float:
            difference = (found[name].cpu().double() - expected[name]).norm()
            return float((difference / expected[name].norm()).nan_to_num(nan=torch.inf))

        return max((relative(name), name) for name in expected)

    def _arguments(self, device: str) -> list[Tensor]:
        """In the order of `ttt_linear`, random enough that every one of them matters."""
        rng = torch.Generator().manual_seed(0)
        heads, dim = self.heads, self.head_dim
        tokens = self.mini_batches * self.mini_batch_size

        def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
            return torch.randn(*shape, generator=rng) * scale + shift

        q, k, v = (normal(1, tokens, heads, dim, scale=dim**-0.25).to(self.dtype) for _ in range(3))
        arguments = [
            *(q, k, v),
            normal(self.mini_batch_size, scale=0.1).abs() + 0.05,
            normal(1, tokens, heads, scale=0.1).abs(),
            normal(heads, dim, dim, scale=dim**-0.5),
            normal(heads, dim, scale=0.2),
            normal(heads, dim, scale=0.3, shift=1.0),
            normal(heads, dim, scale=0.3),
        ]
        arguments = [x.to(device) for x in arguments]
        for i in (0, 1, 2, 4):  # q, k, v and lr have a sequence in front
            arguments[i] = arguments[i].repeat(self.sequences, *[1] * (arguments[i].ndim - 1))
        return arguments


_NAMES = ("q", "k", "v", "token_eta", "lr", "weight", "bias", "ln_w", "ln_b")


def _results(arguments: list[Tensor], mini_batch_size: int, kernel: str) -> dict[str, Tensor]:
    leaves = [x.detach().requires_grad_() for x in arguments]
    results = ttt_linear(*leaves, mini_batch_size=mini_batch_size, kernel=kernel)
    rng = torch.Generator().manual_seed(1)
    # an upstream gradient of tokens is as wide as they are: bfloat16 is exact in all of them
    upstream = [torch.randn(x.shape, generator=rng).bfloat16().to(x) for x in results]
    gradients = torch.autograd.grad(results, leaves, upstream)
    found = dict(zip(("output", "final weight", "final bias"), results, strict=True))
    found |= {f"gradient of {n}": x for n, x in zip(_NAMES, gradients, strict=True)}
    return {name: x.detach() for name, x in found.items()}
