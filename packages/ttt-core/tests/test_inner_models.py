"""Inner models: official initialisation, and reading on from any position."""

from typing import get_args

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ttt_config import InnerConfig, ModelConfig
from ttt_config.mix import InnerKind, LayerSpec
from ttt_core import (
    TTTMLP,
    InnerLearningRate,
    InnerModel,
    InnerState,
    build_inner,
    choose_kernels,
    record_inner_traces,
)
from ttt_kernels import KernelUnavailableError

KINDS: tuple[InnerKind, ...] = get_args(InnerKind)
HEADS, DIM = 2, 4


def make_inner(kind: InnerKind, mini_batch_size: int = 4) -> InnerModel:
    config = InnerConfig(mini_batch_size=mini_batch_size, expansion_factor=2, adam_lr=0.05)
    inner = build_inner(LayerSpec(kind), DIM, HEADS, config).double()
    torch.manual_seed(0)
    for parameter in inner.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return inner


def make_tokens(batch: int, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, tokens, HEADS, DIM, generator=rng, dtype=torch.float64)
    return q, k, v, torch.rand(batch, tokens, HEADS, generator=rng, dtype=torch.float64) * 0.2


def token_eta(mini_batch_size: int) -> Tensor:
    return 1.0 / torch.arange(1, mini_batch_size + 1, dtype=torch.float64)


def assert_same_state(a: InnerState, b: InnerState) -> None:
    assert a.position == b.position
    for (name, ours), theirs in zip(a.tensors().items(), b.tensors().values(), strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(1, 6),
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_any_chunking_gives_the_same_outputs_and_state(
    kind: InnerKind, size: int, pieces: list[int]
) -> None:
    inner, eta = make_inner(kind, size), token_eta(size)
    q, k, v, lr = make_tokens(2, sum(pieces))
    whole, whole_state = inner(q, k, v, eta, lr)
    outputs, state, start = [], None, 0
    for length in pieces:
        cut = slice(start, start + length)
        out, state = inner(q[:, cut], k[:, cut], v[:, cut], eta, lr[:, cut], state)
        outputs.append(out)
        start += length
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-10)
    assert state is not None
    assert_same_state(state, whole_state)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_at_different_positions_are_read_on_together(kind: InnerKind) -> None:
    inner, eta = make_inner(kind), token_eta(4)
    lengths = (3, 9, 0, 5, 3)
    q, k, v, lr = make_tokens(len(lengths), 12)
    states = []
    for row, length in enumerate(lengths):
        state = inner.initial_state(1)
        if length:
            one = slice(row, row + 1)
            cut = (x[one, :length] for x in (q, k, v))
            _, state = inner(*cut, eta, lr[one, :length], state)
        states.append(state)
    q2, k2, v2, lr2 = make_tokens(len(lengths), 6, seed=1)
    together, end = inner(q2, k2, v2, eta, lr2, InnerState.concatenate(states))
    for row, state in enumerate(states):
        one = slice(row, row + 1)
        alone, alone_end = inner(q2[one], k2[one], v2[one], eta, lr2[one], state)
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-12)
        mine = end.select([row])
        open_count = mine.position[0] % 4
        assert mine.position == alone_end.position
        assert torch.equal(mine.open_tokens.k[:, :open_count], alone_end.open_tokens.k)
        for ours, theirs in zip(mine.weights, alone_end.weights, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_gradients_flow_through_a_state_cut_in_mid_mini_batch() -> None:
    inner, eta = make_inner("mlp"), token_eta(4)
    q, k, v, lr = make_tokens(2, 11)
    k.requires_grad_()

    def gradients(cut: int | None) -> tuple[Tensor, ...]:
        if cut is None:
            out, _ = inner(q, k, v, eta, lr)
        else:
            first, state = inner(q[:, :cut], k[:, :cut], v[:, :cut], eta, lr[:, :cut])
            rest, _ = inner(q[:, cut:], k[:, cut:], v[:, cut:], eta, lr[:, cut:], state)
            out = torch.cat([first, rest], 1)
        return torch.autograd.grad(out.square().sum(), [k, *inner.parameters()])

    for whole, cut in zip(gradients(None), gradients(6), strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-10)


def test_official_initialisation() -> None:
    torch.manual_seed(0)
    inner = TTTMLP(64, 8, InnerConfig())
    inner.reset_parameters(std=0.02)
    assert [tuple(w.shape) for w in inner.weights] == [(8, 64, 256), (8, 256, 64)]
    assert all(abs(w.detach().std().item() - 0.02) < 2e-4 for w in inner.weights)
    assert not any(b.any() for b in inner.biases)
    assert torch.equal(inner.norm_weight, torch.ones(8, 64))
    assert not inner.norm_bias.any()


def test_learning_rate_gate_and_clamped_schedule() -> None:
    eta = InnerLearningRate(6, HEADS, DIM, base_lr=0.5, mini_batch_size=4)
    x = torch.randn(2, 3, 6)
    assert torch.equal(eta(x), torch.full((2, 3, HEADS), 0.5 * 0.5 / DIM))
    assert torch.equal(eta.token_eta(), 1.0 / torch.tensor([1.0, 2.0, 3.0, 4.0]))
    with torch.no_grad():
        eta.token_idx[3] = -1.0
    schedule = eta.token_eta()
    assert schedule[3] == 0.0
    schedule.sum().backward()
    assert eta.token_idx.grad is not None
    assert eta.token_idx.grad.tolist() == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_traces_are_recorded_on_request_and_hooks_removed(kind: InnerKind) -> None:
    inner, eta = make_inner(kind), token_eta(4)
    q, k, v, lr = make_tokens(2, 10)
    expected, state = inner(q, k, v, eta, lr)
    with record_inner_traces(inner) as traces:
        out, _ = inner(q, k, v, eta, lr)
        assert traces[0].loss_before.shape == (2, 2, HEADS)
        inner(q, k, v, eta, lr, state)  # two open tokens and ten more: three mini-batches
    assert traces[0].loss_before.shape == (2, 3, HEADS)
    assert (traces[0].drift[:, 0] > traces[0].update_norm[:, 0]).all()
    assert torch.equal(out, expected)
    assert not inner._forward_pre_hooks


def test_tracing_mixed_offsets_is_refused() -> None:
    inner = make_inner("linear")
    q, k, v, lr = make_tokens(1, 3)
    _, state = inner(q, k, v, token_eta(4), lr)
    mixed = InnerState.concatenate([state, inner.initial_state(1)])
    with pytest.raises(ValueError, match="one offset"):
        inner.trace(
            k.repeat(2, 1, 1, 1), v.repeat(2, 1, 1, 1), token_eta(4), lr.repeat(2, 1, 1), mixed
        )


def test_a_kernel_in_the_layer_type_falls_back_and_one_asked_for_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = LayerSpec("linear", "ptr-streaming")
    inner = build_inner(spec, DIM, HEADS, InnerConfig())
    assert "`ptr-streaming` is not available here" in caplog.text
    q, k, v, lr = make_tokens(1, 3)
    out, _ = inner(q, k, v, token_eta(16), lr)
    assert out.shape == q.shape
    named = build_inner(spec, DIM, HEADS, InnerConfig(kernel="reference"))
    assert named.options["kernel"] == "reference"
    with pytest.raises(KernelUnavailableError, match="`ptr-streaming` is not available"):
        build_inner(spec, DIM, HEADS, InnerConfig(kernel="ptr-streaming"))


def test_a_gpu_kernel_in_the_layer_type_is_none_for_tensors_in_main_memory() -> None:
    preferring = build_inner(LayerSpec("linear", "tile-multi"), DIM, HEADS, InnerConfig())
    q, k, v, lr = make_tokens(1, 3)
    out, _ = preferring(q, k, v, token_eta(16), lr)
    assert out.shape == q.shape
    asked = build_inner(LayerSpec("linear"), DIM, HEADS, InnerConfig(kernel="tile-multi"))
    with pytest.raises(KernelUnavailableError, match="it runs on cuda, not cpu"):
        asked(q, k, v, token_eta(16), lr)


def test_the_kernel_of_each_layer_is_known_before_the_model_is_built() -> None:
    config = ModelConfig(layer_type="2*linear,fused-tile-multi", num_layers=3)
    first, second, third = choose_kernels(config, "cpu")
    assert first == second
    assert first.reason == "the fastest for linear here"
    assert third.kernel == first.kernel
    assert third.reason.startswith("`tile-multi` cannot run this: it runs on cuda, not cpu")
    assert {each.kernel for each in choose_kernels(config, "cuda")} == {"tile-multi"}
    asked = msgspec.structs.replace(config, inner=InnerConfig(kernel="cpu"))
    with pytest.raises(KernelUnavailableError, match="`cpu` "):
        choose_kernels(asked, "cuda")


def test_a_fused_layer_type_makes_the_same_module_as_its_kind() -> None:
    def names(model: InnerModel) -> list[str]:
        return [name for name, _ in model.named_parameters()]

    fused = build_inner(LayerSpec("linear", "naive"), DIM, HEADS, InnerConfig())
    assert names(fused) == names(build_inner(LayerSpec("linear"), DIM, HEADS, InnerConfig()))
