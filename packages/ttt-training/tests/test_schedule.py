import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config import TrainConfig
from ttt_training import schedule


def learning_rate(step: int, settings: TrainConfig) -> float:
    return schedule.learning_rate(step, settings, hidden_size=512)


SETTINGS = TrainConfig(lr=3e-3, min_lr=1e-5, warmup_steps=10, steps=110)


def test_warm_up_is_a_line_from_zero_to_the_peak() -> None:
    assert [learning_rate(step, SETTINGS) for step in range(11)] == pytest.approx(
        [3e-4 * step for step in range(11)]
    )


def test_the_rest_is_half_a_cosine_down_to_the_minimum() -> None:
    for step in range(10, 111):
        angle = math.pi * (step - 10) / 100
        expected = 1e-5 + (3e-3 - 1e-5) * (1 + math.cos(angle)) / 2
        assert learning_rate(step, SETTINGS) == pytest.approx(expected)
    assert learning_rate(60, SETTINGS) == pytest.approx((3e-3 + 1e-5) / 2)


def test_the_last_step_has_exactly_the_minimum_and_so_has_any_later_one() -> None:
    assert learning_rate(110, SETTINGS) == 1e-5
    assert learning_rate(500, SETTINGS) == 1e-5


def test_without_warm_up_the_first_step_is_near_the_peak() -> None:
    settings = TrainConfig(lr=1.0, min_lr=0.0, warmup_steps=0, steps=100)
    assert learning_rate(0, settings) == 1.0
    assert 0.999 < learning_rate(1, settings) < 1.0


@given(
    step=st.integers(0, 300),
    warmup=st.integers(0, 200),
    steps=st.integers(1, 200),
    minimum=st.floats(0, 1),
)
def test_the_rate_stays_between_its_ends(
    step: int, warmup: int, steps: int, minimum: float
) -> None:
    settings = TrainConfig(lr=1.0, min_lr=minimum, warmup_steps=warmup, steps=steps)
    rate = learning_rate(step, settings)
    assert (0 if step < warmup else minimum) <= rate <= 1.0


def test_noam_rises_over_the_warm_up_and_then_falls_with_the_root() -> None:
    noam = TrainConfig(schedule="noam", lr=2.0, warmup_steps=100, steps=10_000)
    peak = 2.0 * 512**-0.5 * 100**-0.5
    assert learning_rate(0, noam) == 0
    assert learning_rate(50, noam) == pytest.approx(peak / 2)
    assert learning_rate(100, noam) == pytest.approx(peak)
    assert learning_rate(400, noam) == pytest.approx(peak / 2)
