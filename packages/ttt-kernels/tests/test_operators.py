"""The inner loop is made of torch operators: opcheck, compile, autocast, DDP, one derivative."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from ttt_kernels import KernelError, ttt_linear, ttt_linear_adam, ttt_mlp
from ttt_kernels.operators import FAMILIES, OperatorArguments, run

LAYERS = {"linear": 1, "linear_adam": 1, "mlp": 2}


def moments_of(x: InnerInputs) -> tuple[Tensor, Tensor]:
    batch, _, heads, dim = x.q.shape
    return x.lr.new_zeros(batch, heads, dim, dim), x.lr.new_zeros(batch, heads, dim)


def arguments_of(
    family: str, x: InnerInputs, interval: int | None = None, kernel: str = "reference"
) -> OperatorArguments:
    adam = family == "linear_adam"
    return OperatorArguments(
        *(x.q, x.k, x.v, x.token_eta, x.lr, list(x.weights), list(x.biases), x.ln_w, x.ln_b),
        moments=[*moments_of(x), *moments_of(x)] if adam else [],
        step=0,
        adam=[0.05, 0.9, 0.99] if adam else [],
        mini_batch_size=x.mini_batch_size,
        eps=1e-6,
        checkpoint_interval=interval,
        kernel=kernel,
    )


def call(family: str, x: InnerInputs, interval: int | None = None) -> tuple[Tensor, ...]:
    """Output, weights and biases of the public function of a family."""
    tokens, norm = (x.q, x.k, x.v, x.token_eta, x.lr), (x.ln_w, x.ln_b)
    size = x.mini_batch_size
    if family == "mlp":
        out, weights, biases = ttt_mlp(
            *tokens,
            x.weights,
            x.biases,
            *norm,
            mini_batch_size=size,
            checkpoint_interval=interval,
        )
        return out, *weights, *biases
    if family == "linear":
        return ttt_linear(
            *tokens,
            x.weights[0],
            x.biases[0],
            *norm,
            mini_batch_size=size,
            checkpoint_interval=interval,
        )
    return ttt_linear_adam(
        *tokens,
        x.weights[0],
        x.biases[0],
        *norm,
        moments_of(x),
        moments_of(x),
        0,
        beta1=0.9,
        beta2=0.99,
        adam_lr=0.05,
        mini_batch_size=size,
        checkpoint_interval=interval,
    )[:3]


def gradients_of(
    function: Callable[[str, InnerInputs], tuple[Tensor, ...]], family: str, x: InnerInputs
) -> list[Tensor]:
    results = function(family, x.require_grad())
    loss = torch.stack([(r * r.detach().cos()).sum() for r in results]).sum()
    return [*results, *torch.autograd.grad(loss, list(x.named().values()))]


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tokens", [3, 8, 11])
@pytest.mark.parametrize("save", [True, False])
def test_opcheck_of_the_forward_operators(
    family: str, tokens: int, save: bool, kernel: str
) -> None:
    x = make_inputs(layers=LAYERS[family], tokens=tokens)
    if save:
        x.require_grad()
    arguments = arguments_of(family, x, kernel=kernel)
    torch.library.opcheck(getattr(torch.ops.ttt, family).default, (*arguments, save))


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_opcheck_of_the_backward_operators(
    family: str, shared: bool, dtype: torch.dtype, kernel: str
) -> None:
    x = make_inputs(layers=LAYERS[family], shared=shared)
    x = replace(x, q=x.q.to(dtype), v=x.v.to(dtype))
    arguments = arguments_of(family, x, 2, kernel)
    result = run(family, arguments, save=True)
    upstream = (result.output, [None, *result.weights[1:]], list(result.biases))
    operator = getattr(torch.ops.ttt, f"{family}_backward").default
    torch.library.opcheck(operator, (*upstream, result.saved, *arguments))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backend", ["aot_eager", "eager"])
def test_compiled_without_graph_breaks_gives_the_same(family: str, backend: str) -> None:
    x = make_inputs(layers=LAYERS[family])

    def double(family: str, x: InnerInputs) -> tuple[Tensor, ...]:
        return call(family, replace(x, q=x.q * 2.0, k=x.k.cos()))

    def flat(q: Tensor, k: Tensor, v: Tensor, lr: Tensor) -> tuple[Tensor, ...]:
        return call(family, replace(x, q=q * 2.0, k=k.cos(), v=v, lr=lr))

    torch._dynamo.reset()
    compiled = torch.compile(flat, backend=backend, fullgraph=True)
    ours = gradients_of(lambda _, x: compiled(x.q, x.k, x.v, x.lr), family, x)
    for a, b in zip(ours, gradients_of(double, family, x), strict=True):
        assert torch.equal(a, b)


def test_compiled_for_any_length() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True, dynamic=True)
    for tokens in (11, 9, 17):
        x = make_inputs(layers=2, tokens=tokens)
        for a, b in zip(
            gradients_of(compiled, "mlp", x), gradients_of(call, "mlp", x), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_does_not_reach_inside(family: str) -> None:
    x = make_inputs(layers=LAYERS[family], dtype=torch.float32)
    x = replace(x, q=x.q.bfloat16(), k=x.k.bfloat16(), v=x.v.bfloat16())
    plain = gradients_of(call, family, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = gradients_of(call, family, x)
    assert cast[0].dtype == torch.bfloat16
    for a, b in zip(plain, cast, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_a_state_of_low_precision_is_computed_in_float32() -> None:
    x = make_inputs(layers=2, dtype=torch.bfloat16).require_grad()
    out, weight, *_ = call("mlp", x)
    (gradient,) = torch.autograd.grad(out.sum(), x.weights[0])
    assert (out.dtype, weight.dtype, gradient.dtype) == (
        torch.bfloat16,
        torch.float32,
        torch.bfloat16,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_shared_parameters_are_equal_bit_for_bit(family: str) -> None:
    x = make_inputs(layers=LAYERS[family], batch=5, tokens=37, dtype=torch.float32)
    first = gradients_of(call, family, x)
    for _ in range(3):
        for a, b in zip(first, gradients_of(call, family, x), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputation_by_activation_checkpointing_gives_the_same(family: str) -> None:
    x = make_inputs(layers=LAYERS[family])

    def recomputed(family: str, x: InnerInputs) -> tuple[Tensor, ...]:
        return checkpoint(call, family, x, use_reentrant=False)

    for a, b in zip(
        gradients_of(recomputed, family, x), gradients_of(call, family, x), strict=True
    ):
        assert torch.equal(a, b)


def test_a_second_derivative_is_refused() -> None:
    x = make_inputs().require_grad()
    (gradient,) = torch.autograd.grad(call("linear", x)[0].sum(), x.q, create_graph=True)
    with pytest.raises(KernelError, match="no second derivative"):
        gradient.sum().backward()


def test_nothing_saved_nothing_differentiated() -> None:
    x = make_inputs().require_grad()
    result = run("linear", arguments_of("linear", x), save=False)
    with pytest.raises(KernelError, match="save nothing"):
        result.output.sum().backward()


def test_nothing_is_saved_where_no_gradient_is_asked_for() -> None:
    x = make_inputs().require_grad()
    with torch.no_grad():
        out, *_ = call("linear", x)
    assert out.grad_fn is None
    assert not run("linear", arguments_of("linear", make_inputs()), save=False).saved


class SmallModel(nn.Module):
    """A TTT-Linear whose initial state is learned."""

    def __init__(self) -> None:
        super().__init__()
        x = make_inputs(dtype=torch.float32)
        self.weight, self.bias = nn.Parameter(x.weights[0]), nn.Parameter(x.biases[0])
        self.ln_w, self.ln_b = nn.Parameter(x.ln_w), nn.Parameter(x.ln_b)

    def forward(self, x: InnerInputs) -> Tensor:
        return call(
            "linear",
            replace(x, weights=(self.weight,), biases=(self.bias,), ln_w=self.ln_w, ln_b=self.ln_b),
        )[0]


def _train_on_half(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    x = make_inputs(dtype=torch.float32)
    half = replace(x, **{n: getattr(x, n)[rank : rank + 1] for n in ("q", "k", "v", "lr")})
    model = DistributedDataParallel(SmallModel())
    model(half).square().mean().backward()
    torch.save([p.grad for p in model.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_data_parallel_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(_train_on_half, (str(tmp_path),), nprocs=2)
    model = SmallModel()
    model(make_inputs(dtype=torch.float32)).square().mean().backward()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for a, b, parameter in zip(first, second, model.parameters(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, parameter.grad, rtol=1e-5, atol=1e-6)
