import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_data.loading.pieces import cut_at_borders


@settings(deadline=None, max_examples=200)
@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_windows_on_the_ring_are_cut_where_documents_begin(
    data: st.DataObject, lengths: list[int]
) -> None:
    ring = sum(lengths)
    length = data.draw(st.integers(1, ring))
    starts = data.draw(st.lists(st.integers(0, ring - 1), min_size=1, max_size=5))
    borders = np.cumsum([0, *lengths])
    pieces = cut_at_borders(np.array(starts), length, borders)
    assert pieces.row_starts().tolist() == starts
    cut = list(zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True))
    for start, count in zip(starts, pieces.counts.tolist(), strict=True):
        row, cut = cut[:count], cut[count:]
        places = [place for first, n in row for place in range(first, first + n)]
        assert places == [(start + i) % ring for i in range(length)]
        inner = [first for first, _ in row[1:]]
        assert inner == [place for place in places[1:] if place in borders]
    assert not cut
