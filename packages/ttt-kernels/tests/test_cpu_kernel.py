"""The kernel `cpu` in the arithmetic and the shapes of use; test_backward.py has it in float64."""

from dataclasses import replace

import pytest
import torch
from inner_inputs import InnerInputs, make_inputs
from torch import Tensor

from ttt_kernels.cpu import state
from ttt_kernels.cpu.kernel import CpuKernel
from ttt_kernels.kernel import ForwardResult, InnerLoop, Upstream
from ttt_kernels.reference import AdamMoments, AdamUpdate, InnerParameters
from ttt_kernels.reference.kernel import ReferenceKernel

ADAM = AdamUpdate(lr=0.05, beta1=0.9, beta2=0.99)


def loop_of(x: InnerInputs, dtype: torch.dtype, adam: AdamUpdate | None = None) -> InnerLoop:
    batch, _, heads, dim = x.q.shape
    first = (x.q.new_zeros(batch, heads, dim, dim), x.q.new_zeros(batch, heads, dim))
    moments = AdamMoments(
        tuple(m.to(dtype) for m in first), tuple(m.to(dtype) + 0.01 for m in first), 3
    )
    return InnerLoop(
        q=x.q.to(dtype),
        k=x.k.to(dtype),
        v=x.v.to(dtype),
        token_eta=x.token_eta.to(dtype),
        lr=x.lr.to(dtype),
        parameters=InnerParameters(
            tuple(w.to(dtype) for w in x.weights),
            tuple(b.to(dtype) for b in x.biases),
            moments if adam else None,
        ),
        ln_w=x.ln_w.to(dtype),
        ln_b=x.ln_b.to(dtype),
        mini_batch_size=x.mini_batch_size,
        eps=1e-6,
        adam=adam,
    )


def upstream_of(x: InnerInputs, dtype: torch.dtype) -> Upstream:
    rng = torch.Generator().manual_seed(3)
    batch, _, heads, dim = x.q.shape
    out, weight, bias = (
        torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
        for shape in (x.q.shape, (batch, heads, dim, dim), (batch, heads, dim))
    )
    return Upstream(out, [weight], [bias])


def results(
    kernel: CpuKernel | ReferenceKernel, loop: InnerLoop, upstream: Upstream
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Output and state, and gradients, by name."""
    result = kernel.forward(loop, save=True)
    gradients = kernel.backward(loop, result.saved, upstream)._asdict()
    gradients |= {name: gradients[name][0] for name in ("weights", "biases")}
    return state_of(result), gradients


def state_of(result: ForwardResult) -> dict[str, Tensor]:
    parameters = result.parameters
    return {
        "output": result.output,
        "weight": parameters.weights[0],
        "bias": parameters.biases[0],
    }


@pytest.mark.parametrize("adam", [None, ADAM], ids=["linear", "linear-adam"])
@pytest.mark.parametrize(
    ("head_dim", "mini_batch_size", "tokens"),
    [(64, 16, 83), (96, 16, 40), (32, 64, 150), (24, 5, 33), (64, 1, 23), (8, 3, 1)],
)
def test_float32_is_close_to_the_float64_reference(
    head_dim: int, mini_batch_size: int, tokens: int, adam: AdamUpdate | None
) -> None:
    x = make_inputs(
        batch=2, heads=2, tokens=tokens, head_dim=head_dim, mini_batch_size=mini_batch_size
    )
    exact = results(
        ReferenceKernel(), loop_of(x, torch.float64, adam), upstream_of(x, torch.float64)
    )
    ours = results(CpuKernel(), loop_of(x, torch.float32, adam), upstream_of(x, torch.float32))
    for bound, found, expected in zip((1e-5, 1e-4), ours, exact, strict=True):
        for name, tensor in found.items():
            assert tensor.dtype == torch.float32, name
            error = (tensor.double() - expected[name]).norm() / expected[name].norm()
            assert error < bound, (name, float(error))


@pytest.mark.parametrize("adam", [None, ADAM], ids=["linear", "linear-adam"])
def test_slices_of_one_projection_are_read_where_they_are(adam: AdamUpdate | None) -> None:
    x = make_inputs(batch=2, tokens=19, heads=3, head_dim=16, mini_batch_size=4)
    loop, upstream = loop_of(x, torch.float32, adam), upstream_of(x, torch.float32)
    together = torch.cat([loop.q, loop.k, loop.v], dim=2)
    q, k, v = together.split(3, dim=2)
    assert q.stride() != loop.q.stride()
    for ours, expected in zip(
        results(CpuKernel(), replace(loop, q=q, k=k, v=v), upstream),
        results(CpuKernel(), loop, upstream),
        strict=True,
    ):
        assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_tokens_of_bfloat16_are_computed_in_the_states_float32() -> None:
    x = make_inputs(tokens=19, head_dim=16, mini_batch_size=4)
    loop, upstream = loop_of(x, torch.float32), upstream_of(x, torch.float32)
    low = {name: getattr(loop, name).bfloat16() for name in ("q", "k", "v")}
    wide = {name: tensor.float() for name, tensor in low.items()}
    for ours, expected in zip(
        results(CpuKernel(), replace(loop, **low), upstream),
        results(CpuKernel(), replace(loop, **wide), upstream),
        strict=True,
    ):
        for name, tensor in ours.items():
            assert tensor.dtype == (torch.bfloat16 if name in {"output", *low} else torch.float32)
            assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@pytest.fixture
def few_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three heads of 8 features in float64 are read side by side, and one on the way back."""
    monkeypatch.setattr(state, "CACHE_BYTES", 8000)


@pytest.mark.usefixtures("few_side_by_side")
def test_more_heads_than_are_read_side_by_side_are_each_their_own() -> None:
    x = make_inputs(batch=2, heads=7, tokens=11, head_dim=8, mini_batch_size=4)
    loop, upstream = loop_of(x, torch.float64), upstream_of(x, torch.float64)
    for ours, expected in zip(
        results(CpuKernel(), loop, upstream),
        results(ReferenceKernel(), loop, upstream),
        strict=True,
    ):
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-11, atol=1e-12, msg=name)


@pytest.mark.usefixtures("few_side_by_side")
@pytest.mark.parametrize("adam", [None, ADAM], ids=["linear", "linear-adam"])
def test_a_value_that_is_no_number_shows_in_its_head_from_its_mini_batch_on_and_nowhere_else(
    adam: AdamUpdate | None,
) -> None:
    heads = 5
    x = make_inputs(batch=2, heads=heads, tokens=14, head_dim=6, mini_batch_size=4)
    loop = loop_of(x, torch.float32, adam)
    clean = CpuKernel().forward(loop, save=False)
    loop.k[0, 5, 1, 3] = torch.nan
    result = CpuKernel().forward(loop, save=False)
    bad = torch.zeros(2, 14, heads, dtype=torch.bool)
    bad[0, 4:, 1] = True
    assert result.output.isnan().all(-1).equal(bad)
    assert result.parameters.weights[0].isnan().flatten(2).any(-1).sum() == 1
    assert torch.equal(result.output[~bad], clean.output[~bad])
    upstream = upstream_of(x, torch.float32)
    gradients = CpuKernel().backward(loop, CpuKernel().forward(loop, save=True).saved, upstream)
    expected = torch.zeros(2, heads, dtype=torch.bool)
    expected[0, 1] = True
    assert gradients.lr.isnan().any(1).equal(expected)
    assert gradients.q.isnan().flatten(2).any(-1).any(1).equal(expected.any(1))


def test_what_is_kept_is_a_gradient_and_an_answer_for_each_token_or_a_state_at_intervals() -> None:
    x = make_inputs(batch=2, heads=3, tokens=70, head_dim=16, mini_batch_size=4)
    loop = loop_of(x, torch.float32)
    numbers = 2 * 3 * (16 * 16 + 16)
    gradients = 2 * 3 * 68 * 2 * (16 + 1)  # each with its scale
    for interval, expected in ((None, gradients + numbers), (1, 17 * numbers), (5, 4 * numbers)):
        case = replace(loop, checkpoint_interval=interval)
        saved = CpuKernel().forward(case, save=True).saved
        assert sum(tensor.numel() for tensor in saved) == expected
        assert [t.shape for t in saved] == [t.shape for t in CpuKernel().saved_like(case)]
    assert CpuKernel().forward(loop_of(x, torch.float32, ADAM), save=True).saved == []
