"""The inner loop equals the official implementation: outputs, states and every gradient by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ttt_kernels import ttt_mlp
from ttt_kernels.verify import hardened, poisoned

GOLDEN = Path(__file__).parent / "golden"


def relative_error(ours: Tensor, golden: Tensor) -> float:
    golden = golden.double()
    return float((ours.detach().double() - golden).abs().max() / golden.abs().max())


def load(case: str, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    golden = load_file(GOLDEN / f"{case}.safetensors")
    layers = sum(key.endswith("_init") for key in golden) // 2
    inputs = {
        "XQ": golden["XQ"].transpose(1, 2),
        "XK": golden["XK"].transpose(1, 2),
        "XV": golden["XV"].transpose(1, 2),
        "token_idx": golden["token_idx"],
        "ttt_lr": golden["ttt_lr"].transpose(1, 2),
        "ln_weight": golden["ln_weight"],
        "ln_bias": golden["ln_bias"],
    }
    batch = golden["XQ"].shape[0]
    for layer in range(1, layers + 1):
        weight, bias = golden[f"W{layer}_init"], golden[f"b{layer}_init"].squeeze(-2)
        inputs[f"W{layer}"] = weight.expand(batch, *weight.shape)
        inputs[f"b{layer}"] = bias.expand(batch, *bias.shape)
    return golden, {name: x.to(dtype).clone().requires_grad_() for name, x in inputs.items()}


@pytest.mark.parametrize("case", ["linear_mamba", "mlp_base"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-6)])
def test_official_inner_layer_is_reproduced(
    case: str, dtype: torch.dtype, tolerance: float
) -> None:
    errors = errors_of(case, dtype, "auto")
    assert max(errors.values()) < tolerance, errors


@pytest.mark.parametrize("kernel", ["naive-multi", "tile-multi"])
def test_triton_kernels_reproduce_the_official_inner_layer(kernel: str) -> None:
    with hardened(), poisoned():
        errors = errors_of("linear_mamba", torch.float32, kernel)
    assert max(errors.values()) < 2e-5, errors


def errors_of(case: str, dtype: torch.dtype, kernel: str) -> dict[str, float]:
    """How far outputs, states and gradients are from the official ones, by name."""
    golden, inputs = load(case, dtype)
    layers = sum(name.startswith("W") for name in inputs)
    size, tokens = len(inputs["token_idx"]), inputs["XQ"].shape[1]
    complete = tokens // size * size
    assert complete < tokens, "the case must exercise a remainder"

    def run(
        start: int, stop: int, weights: list[Tensor], biases: list[Tensor], mini_batch_size: int
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        return ttt_mlp(
            inputs["XQ"][:, start:stop],
            inputs["XK"][:, start:stop],
            inputs["XV"][:, start:stop],
            inputs["token_idx"][:mini_batch_size],
            inputs["ttt_lr"][:, start:stop],
            weights,
            biases,
            inputs["ln_weight"],
            inputs["ln_bias"],
            mini_batch_size=mini_batch_size,
            kernel=kernel,
        )

    weights = [inputs[f"W{i}"] for i in range(1, layers + 1)]
    biases = [inputs[f"b{i}"] for i in range(1, layers + 1)]
    out, full_w, full_b = run(0, tokens, weights, biases, size)
    # a remainder learned as a short mini-batch of its own gives the official end state
    _, end_w, end_b = run(complete, tokens, list(full_w), list(full_b), tokens - complete)

    results = {"out": out.flatten(2)}
    for layer in range(layers):
        results[f"W{layer + 1}_full"], results[f"b{layer + 1}_full"] = full_w[layer], full_b[layer]
        results[f"W{layer + 1}_end"], results[f"b{layer + 1}_end"] = end_w[layer], end_b[layer]
    scalar = (out.flatten(2) * golden["ct_out"]).sum()
    for layer in range(1, layers + 1):
        scalar = scalar + (results[f"W{layer}_end"] * golden[f"ct_W{layer}"]).sum()
        scalar = scalar + (results[f"b{layer}_end"] * golden[f"ct_b{layer}"].squeeze(-2)).sum()
    gradients = torch.autograd.grad(scalar, list(inputs.values()))
    results |= {f"d_{name}": g for name, g in zip(inputs, gradients, strict=True)}
    for name in ("d_XQ", "d_XK", "d_XV", "d_ttt_lr"):
        results[name] = results[name].transpose(1, 2)

    references = {key[4:]: value for key, value in golden.items() if key.startswith("ref/")}
    errors = {
        name: relative_error(results[name].reshape(reference.shape), reference)
        for name, reference in references.items()
    }
    assert set(errors) == set(results)
    return errors
