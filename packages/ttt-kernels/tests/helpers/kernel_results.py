"""Every result of a kernel by name, and how far it is from the reference in float64."""

from collections.abc import Callable
from dataclasses import replace

import torch
from inner_inputs import InnerInputs
from torch import Tensor

from ttt_kernels import ttt_linear


def results(
    x: InnerInputs, kernel: str, interval: int | None = None, rounded_to: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Output, final state and, under random weights of all three, every gradient.

    The weights of the output are rounded as a kernel whose tokens have that dtype would get them.
    """
    x = replace(x, **{name: getattr(x, name).detach() for name in ("q", "k", "v")}).require_grad()
    out, weight, bias = ttt_linear(
        *(x.q, x.k, x.v, x.token_eta, x.lr, x.weights[0], x.biases[0], x.ln_w, x.ln_b),
        mini_batch_size=x.mini_batch_size,
        kernel=kernel,
        checkpoint_interval=interval,
    )
    reached = {"output": out, "final weight": weight, "final bias": bias}
    rng = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=rng).to(y.dtype) for y in reached.values()]
    upstream[0] = upstream[0].to(rounded_to or x.q.dtype).to(out.dtype)
    leaves = x.named()
    gradients = torch.autograd.grad(list(reached.values()), list(leaves.values()), upstream)
    found = reached | {
        f"gradient of {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)
    }
    return {name: value.detach() for name, value in found.items()}


def _doubled(x: InnerInputs) -> InnerInputs:
    return replace(
        x,
        **{name: getattr(x, name).double() for name in ("q", "k", "v", "token_eta", "lr")},
        **{name: getattr(x, name).double() for name in ("ln_w", "ln_b")},
        weights=tuple(w.double() for w in x.weights),
        biases=tuple(b.double() for b in x.biases),
    )


def expected_results(x: InnerInputs) -> dict[str, Tensor]:
    """What `results` should be: the reference on the same numbers in float64."""
    return results(_doubled(x), "reference", rounded_to=x.q.dtype)


def rms_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected."""
    error = (found.double() - expected.double()).norm() / expected.double().norm()
    return float(error.nan_to_num(nan=torch.inf))


def assert_close(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: Callable[[str], float]
) -> None:
    errors = {name: rms_error(found[name], expected[name]) for name in expected}
    beyond = {name: f"{e:.1e}" for name, e in errors.items() if not e <= tolerance(name)}
    assert not beyond, f"{beyond} of {errors}"
