"""The example kernels with inputs, and what they should compute, in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import example_kernels
import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A kernel, what to launch it with, and the outputs to expect, by name of the argument."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    expected: dict[str, Tensor]

    def launch(self, **options: Any) -> None:
        self.kernel[self.grid](**self.arguments, **options)

    def error(self) -> float:
        """The largest error of an output, relative to its largest element."""
        return max(
            ((self.arguments[name].double() - true).abs().max() / true.abs().max()).item()
            for name, true in self.expected.items()
        )


def _random(*shape: int, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def add(dtype: torch.dtype, n: int = 1000) -> Case:
    x, y = (_random(n, seed=seed, dtype=dtype) for seed in (0, 1))
    arguments = {"x_ptr": x, "y_ptr": y, "out_ptr": _empty(n, dtype=dtype), "n": n}
    true = {"out_ptr": x.double() + y.double()}
    return Case(example_kernels.add, (4,), {**arguments, "BLOCK": 256}, true)


def softmax(dtype: torch.dtype) -> Case:
    x = _random(3, 100, seed=0, dtype=dtype)
    arguments = {"x_ptr": x, "out_ptr": _empty(3, 100, dtype=dtype), "columns": 100}
    true = {"out_ptr": x.double().softmax(1)}
    return Case(example_kernels.softmax, (3,), {**arguments, "COLUMNS": 128}, true)


def layer_norm(dtype: torch.dtype) -> Case:
    x = _random(32, 64, seed=0, dtype=dtype)
    weight, bias = (_random(64, seed=seed, dtype=torch.float32) for seed in (1, 2))
    out = _empty(32, 64, dtype=dtype)
    arguments = {"x_ptr": x, "weight_ptr": weight, "bias_ptr": bias, "out_ptr": out}
    true = torch.nn.functional.layer_norm(x.double(), (64,), weight.double(), bias.double(), 1e-5)
    sizes = {"ROWS": 16, "COLUMNS": 64}
    return Case(example_kernels.layer_norm, (2,), {**arguments, **sizes}, {"out_ptr": true})


def matmul(dtype: torch.dtype, precision: str = "tf32") -> Case:
    M, N, K = 64, 64, 96
    a, b = _random(M, K, seed=0, dtype=dtype), _random(K, N, seed=1, dtype=dtype)
    arguments = {"a_ptr": a, "b_ptr": b, "c_ptr": _empty(M, N), "N": N, "K": K}
    sizes = {"M_BLOCK": 32, "N_BLOCK": 64, "K_BLOCK": 32, "PRECISION": precision}
    true = {"c_ptr": a.double() @ b.double()}
    return Case(example_kernels.matmul, (2, 1), {**arguments, **sizes}, true)


def linear_attention(dtype: torch.dtype) -> Case:
    H, N, M, D = 2, 2, 16, 32
    q, k, v = (_random(H, N, M, D, seed=seed, dtype=dtype) / D**0.5 for seed in (0, 1, 2))
    arguments = {"q_ptr": q, "k_ptr": k, "v_ptr": v}
    outputs = {"out_ptr": _empty(H, N, M, D, dtype=dtype), "state_ptr": _empty(H, D, D)}
    q, k, v = (each.double().reshape(H, N * M, D) for each in (q, k, v))
    true = {
        "out_ptr": ((q @ k.mT).tril() @ v).reshape(H, N, M, D),
        "state_ptr": k.mT @ v,
    }
    sizes = {"chunks": N, "M": M, "D": D}
    kernel = example_kernels.linear_attention
    return Case(kernel, (H,), {**arguments, **outputs, **sizes}, true)


CASES: dict[str, Callable[[torch.dtype], Case]] = {
    "add": add,
    "softmax": softmax,
    "layer_norm": layer_norm,
    "matmul": matmul,
    "linear_attention": linear_attention,
}
# float32 is multiplied in tf32, which has 10 bits and is cut, not rounded.
TOLERANCES = {torch.float32: 3e-3, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
