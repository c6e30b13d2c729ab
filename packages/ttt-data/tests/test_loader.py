"""Batches as a pure function of the step, whoever asks for which part of them.

The tokens of most texts here are their own places, so a batch shows where it was cut.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_config.errors import DataError, IncompatibleError
from ttt_data import Batch, Loader, LoaderState
from ttt_data.loader import Mixture, TokenSource, array_source, prefetch
from ttt_data.loading.batch import IGNORED_TARGET
from ttt_data.store import TokenStore, TokenStoreWriter

LENGTHS = [7, 1, 23, 0, 31, 2, 34, 5]  # of documents, 103 tokens in all

lengths_of_documents = st.lists(st.integers(0, 30), min_size=1, max_size=25).filter(
    lambda lengths: sum(lengths) >= 12
)
modes: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"mask_borders": True}, {"mode": "docs"}]
)


def text(lengths: list[int] = LENGTHS, first_token: int = 0) -> TokenSource:
    bounds = np.cumsum([0, *lengths])
    return array_source(np.arange(bounds[-1], dtype=np.uint16) + np.uint16(first_token), bounds)


def make(
    tokens: TokenSource | np.ndarray | Mixture | None = None,
    *,
    seq_len: int = 10,
    global_batch_size: int = 4,
    **options: Any,
) -> Loader:
    source = text() if tokens is None else tokens
    return Loader(source, seq_len=seq_len, global_batch_size=global_batch_size, **options)


def epoch_of(loader: Loader, epoch: int) -> Batch:
    """The rows of one epoch, in the order they are dealt; the loader has one row per step."""
    steps = range(epoch * loader.num_windows, (epoch + 1) * loader.num_windows)
    return Batch.concatenate([loader.batch(step) for step in steps])


def same(first: Batch, second: Batch) -> bool:
    return all(
        a is b if a is None or b is None else np.array_equal(a, b)
        for a, b in zip(first, second, strict=True)
    )


# What an epoch deals.


@settings(deadline=None, max_examples=40)
@given(
    lengths=lengths_of_documents,
    options=modes,
    shuffle=st.booleans(),
    rows=st.integers(1, 7),
    seed=st.integers(0, 100),
)
def test_every_epoch_deals_every_window_once(
    lengths: list[int], options: dict[str, Any], *, shuffle: bool, rows: int, seed: int
) -> None:
    loader = make(text(lengths), global_batch_size=rows, shuffle=shuffle, seed=seed, **options)
    assert loader.num_windows == sum(lengths) // 10
    samples = [loader.samples(step) for step in range(-(-3 * loader.num_windows // rows))]
    dealt = np.concatenate([sample.window for sample in samples])
    epochs = np.concatenate([sample.epoch for sample in samples])
    for epoch in range(3):
        of_epoch = dealt[epoch * loader.num_windows :][: loader.num_windows].tolist()
        assert sorted(of_epoch) == list(range(loader.num_windows))
        assert shuffle or of_epoch == sorted(of_epoch)
    assert epochs.tolist() == [g // loader.num_windows for g in range(len(epochs))]


@settings(deadline=None, max_examples=40)
@given(lengths=lengths_of_documents, seed=st.integers(0, 100), epoch=st.integers(0, 5))
def test_packed_epochs_leave_out_less_than_a_window_and_predict_the_next_token(
    lengths: list[int], seed: int, epoch: int
) -> None:
    num_tokens = sum(lengths)
    batch = epoch_of(make(text(lengths), global_batch_size=1, seed=seed), epoch)
    inputs = np.sort(batch.inputs, axis=None)
    assert (np.diff(inputs) > 0).all(), "no token is an input twice"
    assert num_tokens - len(inputs) < 10
    ends = batch.inputs == num_tokens - 1
    assert (batch.targets[ends] == IGNORED_TARGET).all(), "nothing follows the last token"
    assert (batch.targets[~ends] == batch.inputs[~ends] + 1).all()
    following = (batch.inputs[:, :-1] + 1) % num_tokens
    assert (batch.inputs[:, 1:] == following).all(), "a window is one stretch of the ring"


def test_packed_windows_move_from_epoch_to_epoch() -> None:
    loader = make(np.arange(1000, dtype=np.uint16), global_batch_size=1)
    offsets = {int(epoch_of(loader, epoch).inputs[0, 0]) % 10 for epoch in range(12)}
    assert len(offsets) > 4
    still = make(np.arange(1000, dtype=np.uint16), global_batch_size=1, shuffle=False)
    assert epoch_of(still, 3).inputs.ravel().tolist() == list(range(1000))


@settings(deadline=None, max_examples=60)
@given(lengths=lengths_of_documents, seed=st.integers(0, 100), epoch=st.integers(0, 5))
def test_docs_epochs_have_every_token_once_as_input_and_once_as_target(
    lengths: list[int], seed: int, epoch: int
) -> None:
    num_tokens = sum(lengths)
    bounds = np.cumsum([0, *lengths])
    batch = epoch_of(make(text(lengths), mode="docs", global_batch_size=1, seed=seed), epoch)
    inputs = np.sort(batch.inputs, axis=None)
    assert (np.diff(inputs) > 0).all()
    assert num_tokens - len(inputs) == num_tokens % 10, "only the last rest is left out"
    predicted = np.sort(batch.targets[batch.targets != IGNORED_TARGET])
    assert predicted.tolist() == np.setdiff1d(inputs + 1, bounds).tolist()


@settings(deadline=None, max_examples=60)
@given(
    lengths=lengths_of_documents,
    options=st.sampled_from([{"mask_borders": True}, {"mode": "docs"}]),
    step=st.integers(0, 9),
)
def test_targets_end_at_borders_and_segments_say_where(
    lengths: list[int], options: dict[str, Any], step: int
) -> None:
    bounds = np.cumsum([0, *lengths])
    batch = make(text(lengths), **options).batch(step)
    assert batch.segment_ids is not None
    assert batch.reset is not None
    assert batch.inputs.dtype == batch.targets.dtype == np.int64
    assert (batch.segment_ids.dtype, batch.reset.dtype) == (np.int32, np.bool_)
    last_of_document = np.isin(batch.inputs + 1, bounds)
    expected = np.where(last_of_document, IGNORED_TARGET, batch.inputs + 1)
    assert np.array_equal(batch.targets, expected)
    jumps = (np.diff(batch.inputs) != 1) | last_of_document[:, :-1]
    assert batch.reset[:, 0].all()
    assert np.array_equal(batch.reset[:, 1:], jumps)
    assert np.array_equal(batch.segment_ids, np.cumsum(batch.reset, axis=1) - 1)


def test_a_packed_batch_says_nothing_of_documents_unless_asked() -> None:
    plain, masked = make().batch(0), make(mask_borders=True).batch(0)
    assert plain.segment_ids is None
    assert plain.reset is None
    assert np.array_equal(plain.inputs, masked.inputs)
    assert not np.array_equal(plain.targets, masked.targets)


# Who takes part, and in how many pieces.


@settings(deadline=None, max_examples=40)
@given(
    options=modes,
    mixed=st.booleans(),
    world_size=st.sampled_from([1, 2, 4]),
    grad_accum_steps=st.sampled_from([1, 2, 3]),
    step=st.integers(0, 50),
)
def test_ranks_and_micro_batches_lie_end_to_end_in_the_global_batch(
    options: dict[str, Any], *, mixed: bool, world_size: int, grad_accum_steps: int, step: int
) -> None:
    tokens = Mixture([(text(), 2), (text([50], 500), 1)]) if mixed else text()
    options = {**options, "global_batch_size": 24}
    whole = make(tokens, **options).batch(step)
    parts: list[Batch] = []
    for rank in range(world_size):
        loader = make(
            tokens,
            rank=rank,
            world_size=world_size,
            grad_accum_steps=grad_accum_steps,
            **options,
        )
        micro_batches = loader.batch(step).split(grad_accum_steps)
        assert {len(part.inputs) for part in micro_batches} == {loader.batch_size}
        parts += micro_batches
    assert same(Batch.concatenate(parts), whole)


@pytest.mark.parametrize("options", [{"world_size": 4}, {"world_size": 2, "grad_accum_steps": 2}])
def test_a_batch_that_cannot_be_shared_equally_is_refused(options: dict[str, Any]) -> None:
    message = r"global_batch_size 6 cannot be shared .* multiple of 4, for example 8"
    with pytest.raises(IncompatibleError, match=message):
        make(global_batch_size=6, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_batch_size": 0}, "must be positive: 10, 0, 1, 1"),
        ({"seq_len": 0}, "must be positive"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to 1, got 2"),
        ({"mode": "doc"}, "mode must be one of packed, docs, got 'doc'"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_steps_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        make().batch(-1)


# Resuming.


@settings(deadline=None, max_examples=40)
@given(
    options=modes,
    seed=st.integers(0, 2**63 - 1),
    killed_at=st.integers(0, 200),
    world_size=st.sampled_from([1, 2, 3]),
    grad_accum_steps=st.sampled_from([1, 2]),
)
def test_a_run_killed_anywhere_goes_on_as_if_nothing_had_happened(
    options: dict[str, Any], seed: int, killed_at: int, world_size: int, grad_accum_steps: int
) -> None:
    options = {**options, "seed": seed, "global_batch_size": 12}
    uninterrupted = make(**options)
    saved = json.dumps(uninterrupted.state(killed_at).to_dict())
    shares = {"world_size": world_size, "grad_accum_steps": grad_accum_steps}
    ranks = [make(rank=rank, **shares, **options) for rank in range(world_size)]
    for ahead in range(3):
        steps = {rank.step_of(LoaderState.from_dict(json.loads(saved))) for rank in ranks}
        assert steps == {killed_at}
        resumed = Batch.concatenate([rank.batch(killed_at + ahead) for rank in ranks])
        assert same(resumed, uninterrupted.batch(killed_at + ahead))


def test_a_state_is_the_place_and_nothing_else() -> None:
    state = make().state(7)
    assert (state.seed, state.epoch, state.index) == (0, 2, 28)
    assert make(rank=1, world_size=2).state(7) == state
    assert make(global_batch_size=2).step_of(state) == 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": text([103])}, "the data is not what it was"),
        ({"seq_len": 9}, "the data is not what it was"),
        ({"mode": "docs"}, "the data is not what it was"),
        ({"shuffle": False}, "the data is not what it was"),
        ({"seed": 3}, "the data seed is 3, expected 0"),
        ({"global_batch_size": 5}, "sample 28 is not a multiple of global_batch_size 5"),
    ],
)
def test_a_state_of_another_run_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**options).step_of(make().state(7))


def test_changed_data_is_accepted_on_demand_only() -> None:
    state = make().state(7)
    changed = make(text([*LENGTHS, 40]))
    with pytest.raises(DataError, match="the data is not what it was"):
        changed.step_of(state)
    assert changed.step_of(state, allow_changed=True) == 7
    with pytest.raises(DataError, match="the data seed"):
        make(seed=1).step_of(state, allow_changed=True)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"seed": "a", "epoch": 0, "index": 0, "fingerprint": ""},
        {"seed": 0, "epoch": 0, "index": -4, "fingerprint": ""},
    ],
)
def test_a_malformed_state_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(DataError, match="not a loader state"):
        LoaderState.from_dict(values)


def test_the_fingerprint_knows_tokens_documents_and_how_they_are_cut() -> None:
    tokens = np.arange(103, dtype=np.uint16)
    changed = tokens.copy()
    changed[57] += 1
    prints = [
        make(array_source(tokens)).fingerprint,
        make(array_source(changed)).fingerprint,
        make(array_source(tokens[:-1])).fingerprint,
        make(text()).fingerprint,
        make(text(), seq_len=11).fingerprint,
        make(text(), mode="docs").fingerprint,
        make(Mixture([(text(), 1), (tokens, 1)])).fingerprint,
        make(Mixture([(text(), 1), (tokens, 2)])).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert make(tokens.astype(np.int64)).fingerprint == make(tokens).fingerprint
    assert make(global_batch_size=2, seed=9, mask_borders=True).fingerprint == make().fingerprint


# The whole text in its order.


@settings(deadline=None, max_examples=60)
@given(
    lengths=lengths_of_documents,
    options=modes,
    stride=st.integers(1, 10),
    world_size=st.integers(1, 3),
)
def test_in_order_every_token_but_the_first_is_a_target_once(
    lengths: list[int], options: dict[str, Any], stride: int, world_size: int
) -> None:
    if "mode" in options:
        stride = 10
    ranks = [
        list(
            make(
                text(lengths), global_batch_size=12, rank=rank, world_size=world_size, **options
            ).in_order(stride=stride)
        )
        for rank in range(world_size)
    ]
    batches = [Batch.concatenate(parts) for parts in zip(*ranks, strict=True)]
    targets = np.concatenate([batch.targets.ravel() for batch in batches])
    firsts = np.cumsum([0, *lengths]) if options else [0]
    expected = np.setdiff1d(np.arange(sum(lengths)), firsts)
    predicted = targets[targets != IGNORED_TARGET]
    assert sorted(predicted.tolist()) == expected.tolist()
    if "mode" not in options:
        assert predicted.tolist() == expected.tolist(), "in the order of the text"
    assert [len(batch.inputs) for batch in batches[:-2]] == [12] * (len(batches) - 2)
    assert {batch.inputs.shape[1] for batch in batches[:-1]} <= {10}


def test_a_stride_gives_targets_context() -> None:
    batches = list(make(np.arange(30, dtype=np.uint16)).in_order(stride=4))
    rows = [row for batch in batches for row in zip(batch.inputs, batch.targets, strict=True)]
    for number, (inputs, targets) in enumerate(rows):
        assert inputs[0] == 4 * number
        masked = targets == IGNORED_TARGET
        assert masked.sum() == (6 if number else 0)
        assert not masked[6:].any()


def test_the_last_batches_hold_what_is_left() -> None:
    shapes = [batch.inputs.shape for batch in make().in_order()]
    assert shapes == [(4, 10), (4, 10), (2, 10), (1, 2)]
    assert [batch.inputs.shape for batch in make(np.arange(11)).in_order()] == [(1, 10)]


def test_sources_of_a_mixture_follow_each_other() -> None:
    mixture = Mixture([(text([25]), 1), (text([15], 500), 9)])
    targets = np.concatenate([batch.targets.ravel() for batch in make(mixture).in_order()])
    assert targets.tolist() == [*range(1, 25), *range(501, 515)]


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": 11}])
def test_a_stride_out_of_range_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="stride must be from 1 to seq_len 10"):
        next(make().in_order(**options))


def test_windows_of_documents_do_not_overlap() -> None:
    with pytest.raises(ValueError, match="cannot overlap, but stride is 5"):
        next(make(mode="docs").in_order(stride=5))


# Mixtures.


@settings(deadline=None, max_examples=30)
@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    options=modes,
    rows=st.integers(1, 9),
)
def test_every_prefix_holds_each_source_by_its_weight(
    weights: list[int], options: dict[str, Any], rows: int
) -> None:
    sources = [text(LENGTHS, 1000 * number) for number in range(len(weights))]
    mixture = Mixture(list(zip(sources, weights, strict=True)))
    loader = make(mixture, global_batch_size=rows, **options)
    steps = range(-(-60 // rows))
    inputs = np.concatenate([loader.batch(step).inputs for step in steps])
    chosen = np.concatenate([loader.samples(step).source for step in steps])
    assert (inputs // 1000 == chosen[:, None]).all()
    for number, weight in enumerate(weights):
        held = np.cumsum(chosen == number)
        share = np.arange(1, len(chosen) + 1) * weight / sum(weights)
        assert np.abs(held - share).max() < 1


def test_each_source_of_a_mixture_has_an_order_of_its_own() -> None:
    long = np.arange(2001, dtype=np.uint16)
    loader = make(Mixture([(long, 1), (long, 1)]), global_batch_size=400)
    samples = loader.samples(0)
    first, second = (samples.window[samples.source == number] for number in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(200))
    assert first.tolist() != second.tolist()
    assert (loader.state(1).epoch, loader.num_windows) == (1, 400)


def test_an_epoch_of_a_mixture_is_over_when_all_its_sources_are() -> None:
    loader = make(Mixture([(text(), 3), (text(), 1)]))  # ten windows each
    epochs = [loader.state(step).epoch for step in range(21)]
    assert epochs == [step // 10 for step in range(21)]


# Purity.


@settings(deadline=None, max_examples=20)
@given(options=modes, steps=st.lists(st.integers(0, 30), min_size=2, max_size=6))
def test_a_batch_does_not_depend_on_those_asked_for_before(
    options: dict[str, Any], steps: list[int]
) -> None:
    loader = make(**options)
    for step in steps:
        assert same(loader.batch(step), make(**options).batch(step))


def test_the_samples_do_not_depend_on_the_batch_size() -> None:
    small = [make(global_batch_size=2).batch(step) for step in range(9)]
    large = [make(global_batch_size=6).batch(step) for step in range(3)]
    assert same(Batch.concatenate(small), Batch.concatenate(large))


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = [
        tuple(make(np.arange(1001), global_batch_size=100, seed=seed).samples(epoch).window)
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4
    assert tuple(range(100)) not in orders


def test_the_order_of_a_seed_never_changes() -> None:
    assert make().samples(0).start.tolist() == [46, 96, 16, 56]
    assert make(mode="docs").samples(0).start.tolist() == [51, 7, 18, 64]


def test_no_global_random_state_is_read_or_written_and_torch_stays_out() -> None:
    program = """
import random, sys
import numpy as np
from ttt_data.loader import Loader, Mixture, prefetch

tokens = np.arange(2001, dtype=np.uint16)

def batches():
    for mode in ("packed", "docs"):
        mixture = Mixture([(tokens, 2), (tokens, 1)])
        loader = Loader(mixture, seq_len=10, global_batch_size=6, mode=mode)
        ahead = prefetch(loader, 3, depth=2)
        yield from (next(ahead).inputs.tolist() for _ in range(4))
        ahead.close()

def states():
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), kind, keys.tolist(), rest

results = []
for seed in (1, 2):
    random.seed(seed)
    np.random.seed(seed)
    before = states()
    results.append(list(batches()))
    assert states() == before
assert results[0] == results[1]
assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Where tokens come from.


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    """Training documents of tokens below 100 and others above, in several shards."""
    with TokenStoreWriter(
        tmp_path / "store",
        tokenizer_json="{}",
        vocab_size=300,
        eos_id=1,
        shard_tokens=20,
    ) as writer:
        for first in range(2, 90, 9):
            writer.add_document("train", [*range(first, first + 8), 1], 8)
            writer.add_document("val", [*range(first + 100, first + 108), 1], 8)
    return TokenStore.open(tmp_path / "store")


@pytest.mark.parametrize("mode", ["packed", "docs"])
def test_splits_of_a_store_are_loaded_as_arrays_are_and_share_nothing(
    store: TokenStore, mode: Any
) -> None:
    split = store.split("train")
    copied = array_source(split.tokens(0, len(split)), split.document_bounds)
    loader, reference = make(split, mode=mode), make(copied, mode=mode)
    seen: set[int] = set()
    for step in range(6):
        assert same(loader.batch(step), reference.batch(step))
        seen |= set(loader.batch(step).inputs.ravel().tolist())
    held_out = {
        int(token)
        for batch in make(store.split("val")).in_order()
        for token in batch.inputs.ravel()
    }
    assert seen & held_out == {1}
    assert loader.step_of(make(store.split("train"), mode=mode).state(3)) == 3
    with pytest.raises(DataError, match="the data is not what it was"):
        make(store.split("val"), mode=mode).step_of(loader.state(3))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_any_integer_tokens_will_do(dtype: type[np.generic]) -> None:
    tokens = (np.arange(101) * 600).astype(np.uint16)
    assert same(make(tokens.astype(dtype)).batch(1), make(tokens).batch(1))


@pytest.mark.parametrize(("options", "needed"), [({}, 11), ({"mode": "docs"}, 10)])
def test_too_little_text_says_how_much_is_needed(options: dict[str, Any], needed: int) -> None:
    with pytest.raises(DataError, match=f"seq_len 10 needs {needed} tokens, found {needed - 1}"):
        make(np.arange(needed - 1), **options)
    assert make(np.arange(needed), **options).num_windows == 1


@pytest.mark.parametrize("bounds", [[], [0], [0, 50], [1, 100], [0, 60, 50, 100]])
def test_wrong_document_bounds_are_refused(bounds: list[int]) -> None:
    source = array_source(np.arange(100), np.array(bounds, dtype=np.int64))
    with pytest.raises(DataError, match="the document bounds of a split of 100 tokens are wrong"):
        make(source, mode="docs")


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_prefetched_batches_are_those_of_their_steps(depth: int) -> None:
    loader = make(mode="docs")
    ahead = prefetch(loader, 5, depth)
    assert all(same(next(ahead), loader.batch(step)) for step in range(5, 25))
    ahead.close()
