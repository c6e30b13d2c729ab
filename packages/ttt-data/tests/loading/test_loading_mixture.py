import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_config.errors import InvalidValueError
from ttt_data.loading.mixture import MAX_PERIOD, Mixture, integer_weights

TOKENS = np.arange(100, dtype=np.uint16)


def mix(*weights: float) -> Mixture:
    return Mixture([(TOKENS, weight) for weight in weights])


@settings(deadline=None, max_examples=150)
@given(weights=st.lists(st.integers(1, 60), min_size=1, max_size=9), far=st.integers(0, 10**12))
def test_every_prefix_holds_its_share_rounded_up_or_down(weights: list[int], far: int) -> None:
    mixture = mix(*weights)
    samples = np.arange(2 * mixture.period + 3)
    sources, positions = mixture.locate(samples)
    for number, weight in enumerate(mixture.weights):
        chosen = sources == number
        assert positions[chosen].tolist() == list(range(int(chosen.sum())))
        exact = (samples + 1) * weight  # in units of 1 / period
        held = np.cumsum(chosen) * mixture.period
        assert (np.abs(held - exact) < mixture.period).all()
    assert sum(mixture.counts(far)) == far
    source, position = mixture.locate(np.array([far]))
    assert mixture.counts(far)[int(source[0])] == int(position[0])
    assert all(
        abs(count * mixture.period - far * weight) < mixture.period
        for count, weight in zip(mixture.counts(far), mixture.weights, strict=True)
    )


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1,), (1,)),
        ((300, 100), (3, 1)),
        ((0.7, 0.2, 0.1), (7, 2, 1)),
        ((1 / 3, 2 / 3), (1, 2)),
        ((1e-4, 1), (1, 10_000)),
        ((5.0, 2.5), (2, 1)),
    ],
)
def test_weights_are_a_ratio(weights: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert integer_weights(weights) == expected


def test_the_choice_never_changes() -> None:
    assert mix(3, 2, 1).locate(np.arange(12))[0].tolist() == [0, 1, 0, 1, 0, 2] * 2


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -2), (1, float("nan")), (1, float("inf"))])
def test_weights_must_be_positive(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidValueError, match="needs positive weights"):
        mix(*weights)


@pytest.mark.parametrize("weights", [(1234567, 2345678), (0.123456789, 1), (1e-9, 1)])
def test_weights_without_a_small_period_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidValueError, match=rf"at most {MAX_PERIOD}, got .*; round them"):
        mix(*weights)


def test_the_suggested_weights_are_accepted() -> None:
    with pytest.raises(InvalidValueError) as error:
        mix(1234567, 2345678)
    suggested = str(error.value).rpartition("to ")[2].split(", ")
    assert suggested == ["345", "655"]
    assert integer_weights([int(weight) for weight in suggested]) == (69, 131)
