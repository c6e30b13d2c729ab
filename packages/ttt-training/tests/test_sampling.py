import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ttt_config import InvalidValueError
from ttt_training.sampling import Sampling, draw_token, penalize, sample_next

LOGITS = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]]).log()


def draws(logits: Tensor, *, temperature: float, top_k: int | None, top_p: float) -> Tensor:
    """Draw 4000 tokens from one row of scores."""
    rows = logits.expand(4000, -1)
    generator = torch.Generator().manual_seed(0)
    return sample_next(rows, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)


def shares(tokens: Tensor) -> list[float]:
    return (torch.bincount(tokens, minlength=5) / len(tokens)).tolist()


def test_temperature_zero_takes_the_best_token() -> None:
    assert draws(LOGITS, temperature=0, top_k=None, top_p=1.0).unique().tolist() == [0]


def test_temperature_one_draws_in_proportion() -> None:
    found = shares(draws(LOGITS, temperature=1.0, top_k=None, top_p=1.0))
    assert found == pytest.approx([0.5, 0.2, 0.15, 0.1, 0.05], abs=0.03)


def test_temperature_divides_the_scores() -> None:
    found = shares(draws(LOGITS, temperature=0.5, top_k=None, top_p=1.0))
    squares = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05]) ** 2
    assert found == pytest.approx((squares / squares.sum()).tolist(), abs=0.03)


@pytest.mark.parametrize(("top_k", "kept"), [(1, [0]), (3, [0, 1, 2]), (99, [0, 1, 2, 3, 4])])
def test_top_k_keeps_the_best_k(top_k: int, kept: list[int]) -> None:
    assert draws(LOGITS, temperature=1.0, top_k=top_k, top_p=1.0).unique().tolist() == kept


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, [0]), (0.6, [0, 1]), (0.8, [0, 1, 2])])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: list[int]) -> None:
    assert draws(LOGITS, temperature=1.0, top_k=None, top_p=top_p).unique().tolist() == kept


@given(
    scores=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=20),
    temperature=st.floats(0.1, 5),
    top_k=st.none() | st.integers(1, 25),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**32),
)
def test_any_settings_draw_a_token_whose_score_passes_the_filters(
    scores: list[float], temperature: float, top_k: int | None, top_p: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.tensor([scores])
    token = sample_next(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
    )
    rank = sum(score > logits[0, int(token)] for score in logits[0])
    assert rank < (top_k or len(scores))


def test_each_row_draws_from_its_own_scores() -> None:
    logits = torch.full((3, 5), -torch.inf)
    logits[0, 4] = logits[1, 2] = logits[2, 0] = 0
    generator = torch.Generator().manual_seed(0)
    drawn = sample_next(logits, temperature=1.0, top_k=None, top_p=0.9, generator=generator)
    assert drawn.tolist() == [4, 2, 0]


def test_the_repetition_penalty_lowers_recent_tokens_whatever_their_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 4.0, -4.0, 0.0]])
    assert penalize(logits, [0, 1, 1, 4], 2.0).tolist() == [[1.0, -4.0, 4.0, -4.0, 0.0]]
    assert penalize(logits, [0, 1], 1.0) is logits
    assert penalize(logits, [], 2.0) is logits


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    def drawn(seed: int, position: int) -> int:
        return draw_token(torch.zeros(1, 1000), Sampling(top_k=None, seed=seed), position=position)

    assert drawn(1, 5) == drawn(1, 5)
    assert len({drawn(seed, position) for seed in range(4) for position in range(4)}) > 12


def test_draws_at_successive_positions_follow_the_probabilities() -> None:
    sampling = Sampling(temperature=1.0, top_k=None)
    tokens = [draw_token(LOGITS, sampling, position=position) for position in range(4000)]
    assert shares(torch.tensor(tokens)) == pytest.approx([0.5, 0.2, 0.15, 0.1, 0.05], abs=0.03)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_out_of_range_is_refused(penalty: float) -> None:
    with pytest.raises(InvalidValueError, match=r"repetition_penalty is .*; expected more than 0"):
        Sampling(repetition_penalty=penalty)
