"""The gradient by hand equals autograd through the scan, for every argument by name."""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inner_inputs import InnerInputs, make_inputs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ttt_kernels.cpu.kernel import CpuKernel
from ttt_kernels.kernel import InnerLoop, Kernel, Upstream
from ttt_kernels.reference import AdamMoments, AdamUpdate, InnerParameters, SGDUpdate, scan
from ttt_kernels.reference.kernel import ReferenceKernel

KERNELS: dict[str, Kernel] = {"reference": ReferenceKernel(), "cpu": CpuKernel()}
kernel: Kernel = KERNELS["reference"]


@pytest.fixture(autouse=True, scope="module", params=list(KERNELS))
def _each_kernel(request: pytest.FixtureRequest) -> None:
    """Run all tests of this module with each kernel."""
    global kernel  # noqa: PLW0603 - hypothesis allows no fixture that is made for each test
    kernel = KERNELS[request.param]


ADAM = AdamUpdate(lr=0.05, beta1=0.9, beta2=0.99)


def moments_of(x: InnerInputs) -> AdamMoments:
    """Moments as three earlier steps might leave them."""
    rng = torch.Generator().manual_seed(7)
    lead = (x.q.shape[0], x.q.shape[2])
    shapes = [(*lead, *w.shape[-2:]) for w in x.weights] + [(*lead, b.shape[-1]) for b in x.biases]
    first = [0.1 * torch.randn(shape, generator=rng, dtype=x.lr.dtype) for shape in shapes]
    second = [0.1 * torch.rand(shape, generator=rng, dtype=x.lr.dtype) for shape in shapes]
    return AdamMoments(tuple(first), tuple(second), 3)


def loop_of(
    x: InnerInputs, adam: AdamUpdate | None = None, interval: int | None = None
) -> InnerLoop:
    moments = None if adam is None else moments_of(x)
    parameters = InnerParameters(x.weights, x.biases, moments)
    tokens = (x.q, x.k, x.v, x.token_eta, x.lr)
    return InnerLoop(*tokens, parameters, x.ln_w, x.ln_b, x.mini_batch_size, 1e-6, interval, adam)


def by_autograd(
    x: InnerInputs, adam: AdamUpdate | None
) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
    """Output, weights and biases of the scan, random gradients of theirs, and every argument's."""
    loop = loop_of(x.require_grad(), adam)
    out, end = scan(
        *(loop.q, loop.k, loop.v, loop.token_eta, loop.lr, loop.parameters, loop.ln_w, loop.ln_b),
        update=adam or SGDUpdate(),
        mini_batch_size=loop.mini_batch_size,
        eps=loop.eps,
    )
    lead = (x.q.shape[0], x.q.shape[2])
    results = [
        out,
        *(w.expand(*lead, *w.shape[-2:]) for w in end.weights),
        *(b.expand(*lead, b.shape[-1]) for b in end.biases),
    ]
    rng = torch.Generator().manual_seed(5)
    upstream = [torch.randn(r.shape, generator=rng, dtype=r.dtype) for r in results]
    named = x.named()
    gradients = torch.autograd.grad(
        results, list(named.values()), upstream, allow_unused=True, materialize_grads=True
    )
    return results, upstream, dict(zip(named, gradients, strict=True))


def by_hand(
    x: InnerInputs,
    adam: AdamUpdate | None,
    interval: int | None,
    upstream: Sequence[Tensor | None],
) -> tuple[list[Tensor], dict[str, Tensor]]:
    loop, layers = loop_of(x, adam, interval), len(x.weights)
    result = kernel.forward(loop, save=True)
    assert [t.shape for t in result.saved] == [t.shape for t in kernel.saved_like(loop)]
    weights, biases = upstream[1 : 1 + layers], upstream[1 + layers :]
    gradients = kernel.backward(loop, result.saved, Upstream(upstream[0], weights, biases))
    named = gradients._asdict()
    for name in ("weights", "biases"):
        named |= {f"{name}[{i}]": g for i, g in enumerate(named.pop(name))}
    return [result.output, *result.parameters.weights, *result.parameters.biases], named


def check(x: InnerInputs, adam: AdamUpdate | None = None, interval: int | None = None) -> None:
    """Results and gradients agree to 1e-10 of their largest value, each by name."""
    expected, upstream, expected_gradients = by_autograd(x, adam)
    results, gradients = by_hand(x, adam, interval, upstream)
    assert set(gradients) == set(expected_gradients)
    pairs = {f"result {i}": pair for i, pair in enumerate(zip(results, expected, strict=True))}
    pairs |= {name: (gradients[name], expected_gradients[name]) for name in gradients}
    for name, (ours, theirs) in pairs.items():
        assert ours.shape == theirs.shape, name
        error = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12)
        assert error < 1e-10, (name, float(error))


@pytest.mark.parametrize("interval", [None, 1, 2, 3])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("layers", "adam"),
    [(1, None), (1, ADAM), (2, None), (2, ADAM), (3, None), (4, None), (5, None)],
)
def test_every_gradient_equals_autograd(
    layers: int, adam: AdamUpdate | None, shared: bool, interval: int | None
) -> None:
    check(make_inputs(layers=layers, tokens=19, shared=shared), adam, interval)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_gradient_equals_autograd_for_any_shape(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6), "mini_batch_size")
    x = make_inputs(
        layers=data.draw(st.integers(1, 3), "layers"),
        batch=data.draw(st.integers(1, 3), "batch"),
        tokens=data.draw(st.integers(1, 4 * size), "tokens"),
        heads=data.draw(st.integers(1, 3), "heads"),
        head_dim=data.draw(st.integers(4, 9), "head_dim"),
        expansion=data.draw(st.integers(1, 4), "expansion"),
        mini_batch_size=size,
        shared=data.draw(st.booleans(), "shared"),
        seed=data.draw(st.integers(0, 9), "seed"),
    )
    adam = data.draw(st.sampled_from([None, ADAM]), "adam")
    check(x, adam, data.draw(st.sampled_from([None, 1, 2, 5]), "interval"))


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_do_not_depend_on_strides(layers: int) -> None:
    x = make_inputs(layers=layers)
    q, k, v = torch.cat([x.q, x.k, x.v], dim=-1).split(6, dim=-1)
    lr = x.lr.transpose(0, 1).contiguous().transpose(0, 1)
    weights = tuple(w.mT.contiguous().mT for w in x.weights)
    check(replace(x, q=q, k=k, v=v, lr=lr, weights=weights))


def test_token_eta_of_zero_and_large_learning_rates_have_gradients() -> None:
    x = make_inputs(layers=2, tokens=14)
    token_eta = torch.tensor([1.0, 0.0, 0.3, 0.0], dtype=torch.float64)
    check(replace(x, token_eta=token_eta, lr=x.lr * 10))


@pytest.mark.parametrize("missing", ["output", "state", "both"])
def test_results_without_a_gradient_count_as_zero(missing: str) -> None:
    x = make_inputs(layers=2, tokens=14)
    _, upstream, _ = by_autograd(x, None)
    absent = [i for i in range(5) if missing == "both" or (i == 0) == (missing == "output")]
    zeros = [torch.zeros_like(u) if i in absent else u for i, u in enumerate(upstream)]
    nones = [None if i in absent else u for i, u in enumerate(upstream)]
    for a, b in zip(
        by_hand(x, None, 2, zeros)[1].values(), by_hand(x, None, 2, nones)[1].values(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("adam", [None, ADAM])
def test_two_runs_and_any_interval_are_equal_bit_for_bit(adam: AdamUpdate | None) -> None:
    x = make_inputs(layers=2, batch=3, tokens=27, dtype=torch.float32)
    _, upstream, _ = by_autograd(x, adam)
    results, gradients = by_hand(x, adam, None, upstream)
    for interval in (None, 1, 2, 3, 50):
        again, gradients_again = by_hand(x, adam, interval, upstream)
        for a, b in zip(
            (*results, *gradients.values()), (*again, *gradients_again.values()), strict=True
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("layers", [1, 2])
def test_arguments_are_left_as_they_were(layers: int) -> None:
    x = make_inputs(layers=layers, batch=1, heads=1, tokens=9, shared=False)
    before = {name: t.clone() for name, t in x.named().items()}
    _, upstream, _ = by_autograd(x, None)
    kept = [u.clone() for u in upstream]
    by_hand(x, None, None, upstream)
    assert all(torch.equal(before[name], t) for name, t in x.named().items())
    assert all(torch.equal(a, b) for a, b in zip(kept, upstream, strict=True))


class LiveBytes(TorchDispatchMode):
    """Follows how many bytes of tensors made inside are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.holders: dict[int, int] = {}
        self.live = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.hold(tensor.untyped_storage(), tensor)
        self.peak = max(self.peak, self.live)
        return result

    def hold(self, storage: torch.UntypedStorage, tensor: Tensor) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if size == 0:
            return
        count = self.holders.get(address, 0)
        self.holders[address] = count + 1
        self.live += 0 if count else size
        weakref.finalize(tensor, self.release, address, size)

    def release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        self.live -= 0 if self.holders[address] else size


@pytest.mark.parametrize("layers", [1, 2])
def test_memory_of_the_reference_is_that_of_the_tokens_and_of_one_state_per_group(
    layers: int,
) -> None:
    interval, dim, size = 4, 32, 4
    peaks, saved = [], []
    for groups in (4, 8, 16):
        x = make_inputs(
            layers=layers,
            batch=1,
            heads=1,
            tokens=groups * interval * size,
            head_dim=dim,
            expansion=4,
            mini_batch_size=size,
        )
        reference, loop = KERNELS["reference"], loop_of(x, None, interval)
        result = reference.forward(loop, save=True)
        with LiveBytes() as memory:
            reference.backward(
                loop, result.saved, Upstream(result.output, [None] * layers, [None] * layers)
            )
        peaks.append(memory.peak)
        saved.append(sum(t.nbytes for t in result.saved))
    tokens = 4 * interval * size * dim * 8
    states = 4 * sum(p.nbytes for p in (*x.weights, *x.biases))
    assert saved == [tokens + states, 2 * (tokens + states), 4 * (tokens + states)]
    assert peaks[2] - peaks[1] == 2 * (peaks[1] - peaks[0])
    assert peaks[1] - peaks[0] < 12 * tokens + states  # what was saved is counted here, too
