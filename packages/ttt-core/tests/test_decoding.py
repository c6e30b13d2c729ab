"""One token at a time without a gradient, where what open tokens taught is kept beside them."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from ttt_config import InnerConfig
from ttt_config.mix import InnerKind, LayerSpec
from ttt_core import InnerModel, InnerState, build_inner

KINDS: tuple[InnerKind, ...] = get_args(InnerKind)
HEADS, DIM, SIZE = 2, 4, 4

Tokens = tuple[Tensor, Tensor, Tensor, Tensor]


def make_inner(kind: InnerKind) -> InnerModel:
    config = InnerConfig(mini_batch_size=SIZE, expansion_factor=2, adam_lr=0.05)
    inner = build_inner(LayerSpec(kind), DIM, HEADS, config).double()
    torch.manual_seed(0)
    for parameter in inner.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return inner


def make_tokens(batch: int, tokens: int, seed: int = 0) -> Tokens:
    rng = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, tokens, HEADS, DIM, generator=rng, dtype=torch.float64)
    return q, k, v, torch.rand(batch, tokens, HEADS, generator=rng, dtype=torch.float64) * 0.2


ETA = 1.0 / torch.arange(1, SIZE + 1, dtype=torch.float64)


@torch.no_grad()
def read(
    inner: InnerModel, tokens: Tokens, state: InnerState | None = None
) -> tuple[Tensor, InnerState]:
    q, k, v, lr = tokens
    return inner(q, k, v, ETA, lr, state)


def one_by_one(
    inner: InnerModel, tokens: Tokens, state: InnerState | None = None
) -> tuple[Tensor, InnerState]:
    outputs = []
    for t in range(tokens[0].shape[1]):
        q, k, v, lr = (x[:, t : t + 1] for x in tokens)
        output, state = read(inner, (q, k, v, lr), state)
        outputs.append(output)
    assert state is not None
    return torch.cat(outputs, 1), state


def assert_close(ours: tuple[Tensor, InnerState], theirs: tuple[Tensor, InnerState]) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-10)
    assert ours[1].position == theirs[1].position
    torch.testing.assert_close(ours[1].tensors(), theirs[1].tensors(), rtol=0, atol=1e-10)


def cut(tokens: Tokens, start: int, stop: int) -> Tokens:
    q, k, v, lr = (x[:, start:stop] for x in tokens)
    return q, k, v, lr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefill", [0, 3, 4, 6])
def test_token_by_token_equals_one_go(kind: InnerKind, prefill: int) -> None:
    inner, tokens = make_inner(kind), make_tokens(2, 14)
    state = read(inner, cut(tokens, 0, prefill))[1] if prefill else None
    whole, end = read(inner, tokens)
    ours = one_by_one(inner, cut(tokens, prefill, 14), state)
    assert_close(ours, (whole[:, prefill:], end))


@pytest.mark.parametrize("kind", ["linear", "mlp", "linear-adam"])
def test_tokens_and_chunks_follow_on_each_other(kind: InnerKind) -> None:
    inner, tokens = make_inner(kind), make_tokens(2, 15)
    first, state = one_by_one(inner, cut(tokens, 0, 6))
    second, state = read(inner, cut(tokens, 6, 9), state)
    third, state = one_by_one(inner, cut(tokens, 9, 15), state)
    assert_close((torch.cat([first, second, third], 1), state), read(inner, tokens))


@pytest.mark.parametrize("kind", ["linear", "mlp", "linear-adam"])
def test_two_continuations_of_one_state_do_not_meet(kind: InnerKind) -> None:
    inner, start = make_inner(kind), make_tokens(1, 2)
    _, state = one_by_one(inner, start)
    kept = state.map(torch.clone)
    for seed in (1, 2):
        more = make_tokens(1, 5, seed)
        q, k, v, lr = (torch.cat(both, 1) for both in zip(start, more, strict=True))
        whole, end = read(inner, (q, k, v, lr))
        assert_close(one_by_one(inner, more, state), (whole[:, 2:], end))
    torch.testing.assert_close(state.tensors(), kept.tensors(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["linear", "mlp", "linear-adam"])
def test_a_state_decodes_on_after_it_was_stored_chosen_from_and_joined(kind: InnerKind) -> None:
    inner, tokens, more = make_inner(kind), make_tokens(3, 6), make_tokens(3, 5, seed=1)
    _, state = one_by_one(inner, tokens)
    expected = one_by_one(inner, more, state)
    stored = state.replace_tensors(state.tensors(), state.position)
    assert_close(one_by_one(inner, more, stored), expected)
    rows = [2, 0, 2]
    chosen = state.select(rows)
    q, k, v, lr = (x[rows] for x in more)
    output, end = one_by_one(inner, (q, k, v, lr), chosen)
    assert_close((output, end), (expected[0][rows], expected[1].select(rows)))
    joined = InnerState.concatenate([state.select([row]) for row in range(3)])
    assert_close(one_by_one(inner, more, joined), expected)


@pytest.mark.parametrize("kind", ["linear", "mlp", "linear-adam"])
def test_sequences_at_different_positions_decode_together(kind: InnerKind) -> None:
    inner, lengths, more = make_inner(kind), (3, 9, 1, 5), make_tokens(4, 6, seed=1)
    states = [
        one_by_one(inner, make_tokens(1, length, seed=row))[1] for row, length in enumerate(lengths)
    ]
    together, _ = one_by_one(inner, more, InnerState.concatenate(states))
    for row, state in enumerate(states):
        q, k, v, lr = (x[row : row + 1] for x in more)
        alone, _ = one_by_one(inner, (q, k, v, lr), state)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-12)


def test_a_single_token_has_its_gradient() -> None:
    inner, (q, k, v, lr) = make_inner("mlp"), make_tokens(1, 1)
    output, _ = inner(q, k.requires_grad_(), v, ETA, lr)
    output.sum().backward()
    assert k.grad is not None
    assert all(weight.grad is not None for weight in inner.weights)
