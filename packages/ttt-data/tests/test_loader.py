"""Batches as a pure function of the step."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data import Batch, Loader, LoaderState


def make(num_tokens: int = 101, **options: int) -> Loader:
    tokens = np.arange(num_tokens, dtype=np.uint16)
    return Loader(tokens, **({"seq_len": 10, "batch_size": 4} | options))


def windows_of(loader: Loader, num_steps: int) -> list[int]:
    """The window each sample of the first steps was cut from."""
    return [
        int(row[0]) // loader.seq_len
        for step in range(num_steps)
        for row in loader.batch(step).inputs
    ]


def test_targets_are_the_tokens_after_the_inputs() -> None:
    batch = make().batch(3)
    assert isinstance(batch, Batch)
    assert batch.inputs.shape == batch.targets.shape == (4, 10)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    assert np.array_equal(batch.targets, batch.inputs + 1)


@given(
    num_windows=st.integers(1, 40),
    rest=st.integers(0, 9),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 100),
)
def test_every_epoch_deals_every_window_once(
    num_windows: int, rest: int, batch_size: int, seed: int
) -> None:
    loader = make(num_windows * 10 + 1 + rest, batch_size=batch_size, seed=seed)
    assert loader.num_windows == num_windows
    samples = windows_of(loader, -(-3 * num_windows // batch_size))
    for epoch in range(3):
        dealt = samples[epoch * num_windows : (epoch + 1) * num_windows]
        assert sorted(dealt) == list(range(num_windows))


def test_a_batch_does_not_depend_on_the_batches_before_it() -> None:
    np.random.seed(1)  # noqa: NPY002 - the loader must not care about the global state
    forwards = [make().batch(step) for step in range(9)]
    np.random.seed(2)  # noqa: NPY002
    loader = make()
    for step in reversed(range(9)):
        assert np.array_equal(loader.batch(step).inputs, forwards[step].inputs)


def test_the_samples_do_not_depend_on_the_batch_size() -> None:
    small, large = make(batch_size=2), make(batch_size=6)
    assert windows_of(small, 9) == windows_of(large, 3)


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = [tuple(windows_of(make(1001, batch_size=100, seed=seed), 2)) for seed in (0, 1)]
    halves = [half for order in orders for half in (order[:100], order[100:])]
    assert len(set(halves)) == 4
    assert tuple(range(100)) not in halves


def test_in_order_every_token_but_the_first_is_a_target_once() -> None:
    batches = list(make(96).in_order())
    assert [len(batch.inputs) for batch in batches] == [4, 4, 1]
    targets = np.concatenate([batch.targets.ravel() for batch in batches])
    assert targets.tolist() == list(range(1, 91))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_any_integer_tokens_will_do(dtype: type[np.generic]) -> None:
    tokens = (np.arange(101) * 600).astype(np.uint16).astype(dtype)
    assert make(101).fingerprint != Loader(tokens, seq_len=10, batch_size=4).fingerprint
    same = Loader(tokens.astype(np.uint16), seq_len=10, batch_size=4)
    assert Loader(tokens, seq_len=10, batch_size=4).fingerprint == same.fingerprint
    assert np.array_equal(Loader(tokens, seq_len=10, batch_size=4).batch(1), same.batch(1))


def test_the_fingerprint_knows_tokens_and_window_length() -> None:
    changed = np.arange(101, dtype=np.uint16)
    changed[57] += 1
    prints = {
        make().fingerprint,
        make(seq_len=11).fingerprint,
        make(102).fingerprint,
        Loader(changed, seq_len=10, batch_size=4).fingerprint,
    }
    assert len(prints) == 4
    assert make(batch_size=2, seed=9).fingerprint == make().fingerprint


def test_a_state_survives_json_and_leads_back_to_its_step() -> None:
    loader = make()
    state = loader.state(7)
    assert (state.seed, state.epoch, state.index) == (0, 2, 28)
    restored = LoaderState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert restored == state
    assert make().step_of(restored) == 7
    assert make(batch_size=2).step_of(restored) == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tokens": 120}, "the data is not what it was"),
        ({"seq_len": 9}, "the data is not what it was"),
        ({"seed": 3}, "the data seed is 3, expected 0"),
        ({"batch_size": 5}, "sample 28 is not a multiple of batch_size 5"),
    ],
)
def test_a_state_of_another_run_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**options).step_of(make().state(7))


@pytest.mark.parametrize("values", [{}, {"seed": "a", "epoch": 0, "index": 0, "fingerprint": ""}])
def test_a_malformed_state_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not a loader state"):
        LoaderState.from_dict(values)


def test_too_little_text_says_how_much_is_needed() -> None:
    with pytest.raises(DataError, match="seq_len 10 needs 11 tokens, found 10"):
        make(10)
    assert make(11).num_windows == 1


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive: 10, 0"):
        make(batch_size=0)
