"""The compiled scans for MLPs equal the reference: every result and every gradient by name."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from torch import Tensor

pytest.importorskip("numba")

from ttt_kernels.cpu.activation import gelu_terms
from ttt_kernels.cpu.jit import entry
from ttt_kernels.cpu.kernel import CpuKernel
from ttt_kernels.cpu.vector import load, store, vector_length
from ttt_kernels.kernel import InnerLoop, Kernel, Upstream
from ttt_kernels.reference import AdamMoments, AdamUpdate, InnerParameters
from ttt_kernels.reference.activation import gelu_terms as reference_terms
from ttt_kernels.reference.kernel import ReferenceKernel

pytestmark = pytest.mark.timeout(300)  # the first call compiles
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loop_of(x: InnerInputs, interval: int | None = None) -> InnerLoop:
    tokens = (x.q, x.k, x.v, x.token_eta, x.lr)
    parameters = InnerParameters(x.weights, x.biases)
    return InnerLoop(*tokens, parameters, x.ln_w, x.ln_b, x.mini_batch_size, 1e-6, interval)


def upstream_of(loop: InnerLoop) -> Upstream:
    """Random gradients of the output and of the final state."""
    rng = torch.Generator().manual_seed(5)

    def like(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(loop.lr.dtype)

    lead, parameters = (loop.q.shape[0], loop.q.shape[2]), loop.parameters
    return Upstream(
        like(*loop.q.shape).to(loop.q.dtype),
        [like(*lead, *w.shape[-2:]) for w in parameters.weights],
        [like(*lead, b.shape[-1]) for b in parameters.biases],
    )


def everything(kernel: Kernel, loop: InnerLoop, upstream: Upstream) -> dict[str, Tensor]:
    result = kernel.forward(loop, save=True)
    assert [(t.shape, t.dtype) for t in result.saved] == [
        (t.shape, t.dtype) for t in kernel.saved_like(loop)
    ]
    gradients = kernel.backward(loop, result.saved, upstream)._asdict()
    parts = {
        "final weights": result.parameters.weights,
        "final biases": result.parameters.biases,
        "d weights": gradients.pop("weights"),
        "d biases": gradients.pop("biases"),
    }
    named = {f"{name}[{i}]": part for name, many in parts.items() for i, part in enumerate(many)}
    return {"output": result.output, **named, **{f"d {n}": g for n, g in gradients.items()}}


def check(x: InnerInputs, interval: int | None = None, tolerance: float | None = None) -> None:
    loop = loop_of(x, interval)
    upstream = upstream_of(loop)
    ours = everything(CpuKernel(), loop, upstream)
    theirs = everything(ReferenceKernel(), loop, upstream)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape, name
        assert ours[name].dtype == expected.dtype, name
        error = (ours[name] - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
        assert error < (tolerance or TOLERANCES[x.lr.dtype]), (name, float(error))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("layers", [2, 3, 4, 5])
def test_every_result_equals_the_reference(layers: int, size: int, dtype: torch.dtype) -> None:
    for dim, interval, shared in (
        (8, None, True),
        (24, 1, False),
        (24, 3, True),
        (64, None, False),
    ):
        x = make_inputs(
            layers=layers,
            tokens=3 * size + size // 2,
            head_dim=dim,
            expansion=2,
            mini_batch_size=size,
            shared=shared,
            dtype=dtype,
        )
        check(x, interval)


@pytest.mark.parametrize("interval", [None, 1, 3])
@pytest.mark.parametrize("tokens", [1, 3, 4, 29])
def test_any_number_of_tokens(tokens: int, interval: int | None) -> None:
    check(make_inputs(layers=2, tokens=tokens, shared=False), interval)


@pytest.mark.parametrize("size", [20, 40])
def test_mini_batches_longer_than_a_vector(size: int) -> None:
    for dtype in TOLERANCES:
        check(make_inputs(layers=3, tokens=90, mini_batch_size=size, dtype=dtype), 1)


@pytest.mark.parametrize(("dim", "expansion"), [(1, 5), (3, 7), (18, 1)])
def test_any_width(dim: int, expansion: int) -> None:
    for layers in (2, 3):
        check(make_inputs(layers=layers, head_dim=dim, expansion=expansion))


def test_strided_tokens_and_a_state_shared_in_part() -> None:
    x = make_inputs(layers=3, head_dim=24)
    q, k, v = torch.cat([x.q, x.k, x.v], dim=-1).split(24, dim=-1)
    lr = x.lr.transpose(0, 1).contiguous().transpose(0, 1)
    weights = tuple(w.mT.contiguous().mT for w in x.weights)
    biases = tuple(b.expand(2, *b.shape) for b in x.biases)
    check(replace(x, q=q, k=k.mT.contiguous().mT, v=v, lr=lr, weights=weights, biases=biases))


@pytest.mark.parametrize("layers", [2, 3])
def test_steps_of_adam_equal_the_reference(layers: int) -> None:
    x = make_inputs(layers=layers, tokens=22, shared=False)
    loop = loop_of(x)
    first = (*loop.parameters.weights, *loop.parameters.biases)
    moments = AdamMoments(
        tuple(torch.zeros_like(each) for each in first),
        tuple(torch.zeros_like(each) + 0.01 for each in first),
        3,
    )
    adam = AdamUpdate(lr=0.05, beta1=0.9, beta2=0.99)
    loop = replace(loop, parameters=loop.parameters._replace(moments=moments), adam=adam)
    ours, theirs = (
        everything(kernel, loop, upstream_of(loop)) for kernel in (CpuKernel(), ReferenceKernel())
    )
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-9, atol=1e-9, msg=name)
    [mine, other] = (k.forward(loop, save=False) for k in (CpuKernel(), ReferenceKernel()))
    torch.testing.assert_close(mine.parameters.moments, other.parameters.moments)


@pytest.mark.parametrize("missing", ["output", "state"])
def test_results_without_a_gradient_count_as_zero(missing: str) -> None:
    kernel, loop = CpuKernel(), loop_of(make_inputs(layers=2))
    some = upstream_of(loop)
    assert some.output is not None
    if missing == "output":
        nones = some._replace(output=None)
        zeros = some._replace(output=torch.zeros_like(some.output))
    else:
        nones = some._replace(weights=[None, None], biases=[None, None])
        zeros = some._replace(
            weights=[torch.zeros_like(w) for w in some.weights if w is not None],
            biases=[torch.zeros_like(b) for b in some.biases if b is not None],
        )
    ours, theirs = everything(kernel, loop, nones), everything(kernel, loop, zeros)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_tokens_of_bfloat16_are_computed_in_the_dtype_of_the_state() -> None:
    x = make_inputs(layers=2, dtype=torch.float32)
    q, k, v = (each.bfloat16() for each in (x.q, x.k, x.v))
    loop = loop_of(replace(x, q=q, k=k, v=v))
    wide = loop_of(replace(x, q=q.float(), k=k.float(), v=v.float()))
    upstream = upstream_of(loop)
    assert upstream.output is not None
    ours = everything(CpuKernel(), loop, upstream)
    exact = everything(CpuKernel(), wide, upstream._replace(output=upstream.output.float()))
    for name, expected in exact.items():
        rounded = name in ("output", "d q", "d k", "d v")
        assert torch.equal(ours[name], expected.bfloat16() if rounded else expected), name


@pytest.mark.parametrize("interval", [None, 2])
def test_runs_and_numbers_of_threads_are_equal_bit_for_bit(interval: int | None) -> None:
    x = make_inputs(layers=2, batch=3, tokens=27, dtype=torch.float32)
    loop = loop_of(x, interval)
    upstream = upstream_of(loop)
    first = everything(CpuKernel(), loop, upstream)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        again = everything(CpuKernel(), loop, upstream)
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_results_share_no_memory() -> None:
    loop = loop_of(make_inputs(layers=2, batch=1, heads=1, shared=False))
    tensors = list(everything(CpuKernel(), loop, upstream_of(loop)).values())
    tensors += [loop.q, loop.k, loop.v, loop.lr, *loop.parameters.weights, *loop.parameters.biases]
    places = [tensor.untyped_storage().data_ptr() for tensor in tensors]
    assert len(set(places)) == len(places)


def test_nan_reaches_what_depends_on_it_and_nothing_else() -> None:
    x = make_inputs(layers=2, batch=2, tokens=14, dtype=torch.float32)
    x.k[0, 5, 1, 2] = torch.nan  # in the second mini-batch, tokens 4 to 7
    loop = loop_of(x)
    ours, theirs = (
        everything(kernel, loop, upstream_of(loop)) for kernel in (CpuKernel(), ReferenceKernel())
    )
    expected = torch.zeros(x.q.shape, dtype=torch.bool)
    expected[0, 4:, 1] = True
    assert torch.equal(ours["output"].isnan(), expected)
    for name, gradient in theirs.items():  # a step whose g is NaN cannot be undone: q has more
        assert (ours[name].isnan() >= gradient.isnan()).all(), name
        assert name == "d q" or torch.equal(ours[name].isnan(), gradient.isnan()), name
    others = ours["d q"].isnan()
    others[0, :, 1] = False
    assert not others.any()


@entry
def terms_of(x: np.ndarray, out: np.ndarray) -> None:
    for j in range(0, x.shape[1], vector_length(x)):
        value, slope, curvature = gelu_terms(load(x, j))
        store(out, j, value)
        store(out, x.shape[1] + j, slope)
        store(out, 2 * x.shape[1] + j, curvature)


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"), [(np.float32, 3e-7, 3e-7), (np.float64, 0.0, 1e-13)]
)
def test_gelu_and_its_derivatives(dtype: type, relative: float, absolute: float) -> None:
    x = np.linspace(-12, 12, 1 << 16).astype(dtype)[None]
    out = np.empty((3, x.shape[1]), dtype)
    terms_of(x, out)
    exact = reference_terms(torch.from_numpy(x[0]).double(), 2)
    for ours, theirs in zip(out, exact, strict=True):
        error = np.abs(ours - theirs.numpy())
        assert (error <= absolute + relative * theirs.abs().numpy()).all(), error.max()


def test_gelu_of_what_is_no_number_or_far_away() -> None:
    x = np.zeros((1, 16), np.float32)
    x[0, :6] = [np.nan, np.inf, 3e38, -3e38, 1e4, -1e4]
    out = np.empty((3, 16), np.float32)
    terms_of(x, out)
    assert np.isnan(out[:, 0]).all()
    assert np.array_equal(out[0, [1, 2, 4]], x[0, [1, 2, 4]])
    np.testing.assert_allclose(out[0, [3, 5]], 0, atol=1e-14)
    np.testing.assert_allclose(out[1, 1:6], [1, 1, 0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(out[2, 1:6], 0, atol=1e-12)
