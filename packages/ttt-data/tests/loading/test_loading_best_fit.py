from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_data.loading import best_fit
from ttt_data.loading.best_fit import DocumentIndex, pack_documents


def bounds_of(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


def rows(index: DocumentIndex) -> list[list[tuple[int, int]]]:
    """Start and length of the pieces of each window."""
    pieces = list(zip(index.starts.tolist(), index.lengths.tolist(), strict=True))
    first = index.first_piece.tolist()
    return [pieces[a:b] for a, b in pairwise(first)]


@settings(deadline=None, max_examples=150)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60),
    seq_len=st.integers(1, 40),
    pool=st.integers(1, 20),
)
def test_every_token_lies_in_one_piece_and_windows_are_full(
    lengths: list[int], seq_len: int, pool: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_fit, "POOL_PIECES", pool)
        index = pack_documents(bounds_of(lengths), seq_len)
    assert {part.dtype for part in index} == {np.dtype(np.int64)}
    windows = rows(index)
    sizes = [sum(length for _, length in window) for window in windows]
    assert sizes[:-1] == [seq_len] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= seq_len
    covered = sorted(
        place for window in windows for start, n in window for place in range(start, start + n)
    )
    assert covered == list(range(sum(lengths)))
    document = np.repeat(np.arange(len(lengths)), lengths)
    assert all(
        document[start] == document[start + n - 1] for window in windows for start, n in window
    )
    # Each piece ends a document or is the one that is cut in its window.
    ends = set(bounds_of(lengths).tolist())
    for window in windows:
        assert sum(start + length not in ends for start, length in window) <= 1
        assert all(start + length in ends for start, length in window[:-1])


def test_the_oldest_piece_opens_and_the_largest_that_fit_follow() -> None:
    # Beside the first document fits the third, then no other: one token of the last fills the gap.
    index = pack_documents(bounds_of([5, 3, 4, 2, 6]), 10)
    assert rows(index) == [[(0, 5), (8, 4), (14, 1)], [(15, 5), (5, 3), (12, 2)]]


def test_a_cut_document_goes_on_at_the_start_of_the_next_window() -> None:
    index = pack_documents(bounds_of([7, 8, 8]), 10)
    assert rows(index) == [[(0, 7), (15, 3)], [(18, 5), (7, 5)], [(12, 3)]]


def test_a_long_document_fills_windows_from_its_start() -> None:
    index = pack_documents(bounds_of([4, 25, 6]), 10)
    assert rows(index) == [[(4, 10)], [(14, 10)], [(0, 4), (29, 6)], [(24, 5)]]


def test_far_fewer_documents_are_cut_than_by_packing_in_order() -> None:
    lengths = np.random.default_rng(0).integers(20, 400, 3000)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    index = pack_documents(bounds, 512)
    whole = np.isin(index.starts, bounds) & np.isin(index.starts + index.lengths, bounds)
    packed_in_order = np.diff((bounds + [0] * len(bounds)) // 512) == 0
    assert whole.sum() > 0.8 * len(lengths)
    assert packed_in_order.sum() < 0.65 * len(lengths)


def test_windows_stay_near_their_place_in_the_text() -> None:
    lengths = np.random.default_rng(1).integers(20, 400, 10_000)
    index = pack_documents(np.concatenate(([0], np.cumsum(lengths))), 512)
    window_of_piece = np.repeat(np.arange(len(index.first_piece) - 1), np.diff(index.first_piece))
    distance = np.abs(index.starts / 512 - window_of_piece)
    assert np.median(distance) < best_fit.POOL_PIECES
