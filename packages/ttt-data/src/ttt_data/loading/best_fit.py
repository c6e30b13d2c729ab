"""Packing documents into windows without wasting a token.

Documents are read in their order. One longer than a window fills whole windows first. What remains
of it, like every shorter document, waits in a pool. A window opens with the piece that has waited
longest and goes on with the largest ones that fit ("best fit"). When none fits, the largest piece
is cut: its head fills the window, its tail opens the next one. So no window needs padding, nothing
is thrown away, at most one piece per window is cut, and pieces that lie together in the text come
to lie in windows that are near each other.
"""

from array import array
from bisect import bisect_left, insort
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

POOL_PIECES = 1024
"""Pieces that wait before windows are filled: more of them fit better, but come from farther."""


class DocumentIndex(NamedTuple):
    """Which pieces each window holds. Its size is that of the number of pieces, not of tokens."""

    starts: np.ndarray
    """Place of the first token of each piece, (pieces,) int64."""
    lengths: np.ndarray
    """Tokens in each piece, (pieces,) int64."""
    first_piece: np.ndarray
    """The first piece of each window, then the number of pieces, (windows + 1,) int64.

    All windows are full, except the last one if the tokens are no multiple of `seq_len`."""


def pack_documents(bounds: np.ndarray, seq_len: int) -> DocumentIndex:
    """Pack documents into windows of `seq_len` tokens.

    Args:
        bounds: place where each document begins, then the number of tokens; rising.
        seq_len: tokens per window.
    """
    starts, lengths, counts = array("q"), array("q"), array("q")
    pool = _Pool()

    def fill_window() -> None:
        pieces = _fill(pool, seq_len)
        starts.extend(start for start, _ in pieces)
        lengths.extend(length for _, length in pieces)
        counts.append(len(pieces))

    for start, length in zip(bounds[:-1].tolist(), np.diff(bounds).tolist(), strict=True):
        full, tail = divmod(length, seq_len)
        if full:
            starts.extend(range(start, start + full * seq_len, seq_len))
            lengths.extend([seq_len] * full)
            counts.extend([1] * full)
        if tail:
            pool.add(start + full * seq_len, tail)
        while len(pool) > POOL_PIECES and pool.num_tokens >= seq_len:
            fill_window()
    while pool:
        fill_window()
    first_piece = np.cumsum(np.append(0, np.frombuffer(counts, dtype=np.int64)))
    return DocumentIndex(np.array(starts), np.array(lengths), first_piece)


class _Pool:
    """Pieces that wait, found by age or by size.

    Attributes:
        num_tokens: in all of them.
    """

    def __init__(self) -> None:
        self.num_tokens = 0
        self._by_age: OrderedDict[int, int] = OrderedDict()  # start -> length
        self._by_size: list[tuple[int, int]] = []  # (length, start), sorted

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, start: int, length: int) -> None:
        """Add the youngest piece."""
        self._by_age[start] = length
        insort(self._by_size, (length, start))
        self.num_tokens += length

    def add_oldest(self, start: int, length: int) -> None:
        """Add a piece as if it had waited longest."""
        self.add(start, length)
        self._by_age.move_to_end(start, last=False)

    def pop_oldest(self) -> tuple[int, int]:
        """Take out the piece that has waited longest."""
        start, length = next(iter(self._by_age.items()))
        return self._pop(bisect_left(self._by_size, (length, start)))

    def pop_largest(self) -> tuple[int, int]:
        """Take out the largest piece."""
        return self._pop(len(self._by_size) - 1)

    def pop_fitting(self, limit: int) -> tuple[int, int] | None:
        """Take out the largest piece of up to `limit` tokens, if there is one."""
        place = bisect_left(self._by_size, (limit + 1, 0)) - 1
        return None if place < 0 else self._pop(place)

    def _pop(self, place: int) -> tuple[int, int]:
        length, start = self._by_size.pop(place)
        del self._by_age[start]
        self.num_tokens -= length
        return start, length


def _fill(pool: _Pool, seq_len: int) -> list[tuple[int, int]]:
    """Take the pieces of one window out of the pool, all there are if these are too few.

    Returns:
        Start and length of each.
    """
    pieces = [pool.pop_oldest()]
    gap = seq_len - pieces[0][1]
    while gap and pool:
        piece = pool.pop_fitting(gap)
        if piece is None:
            start, length = pool.pop_largest()
            pool.add_oldest(start + gap, length - gap)
            piece = start, gap
        pieces.append(piece)
        gap -= piece[1]
    return pieces
