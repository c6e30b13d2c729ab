"""Windows as rows of pieces, and how pieces become a batch.

A piece is a run of tokens inside one document. The target of every token of a piece is the token
after it in the text, also of the last one, whose target is read from beyond the piece: so cutting a
document into pieces costs no target. Only a piece that ends where its document ends leaves its last
position without one.
"""

from typing import NamedTuple

import numpy as np

from ttt_data.loading.batch import IGNORED_TARGET, Batch
from ttt_data.loading.source import TokenSource


class Pieces(NamedTuple):
    """The pieces of some windows, row after row.

    The pieces of a row follow each other without a gap, and all rows are equally long.
    """

    starts: np.ndarray
    """Place of the first token in the source, (pieces,) int64."""
    lengths: np.ndarray
    """In tokens, at least 1, (pieces,) int64."""
    counts: np.ndarray
    """Pieces in each row, (B,) int64."""

    def row_starts(self) -> np.ndarray:
        """Return the place of the first token of each row, (B,) int64."""
        return self.starts[np.cumsum(self.counts) - self.counts]


def cut_at_borders(starts: np.ndarray, length: int, borders: np.ndarray) -> Pieces:
    """Cut windows wherever a document begins inside them.

    The tokens form a ring: a window that reaches the end of the last document goes on with the
    first.

    Args:
        starts: place of the first token of each window, (B,) int64.
        length: of the windows, in tokens; at most as long as the ring.
        borders: where documents begin, then the length of the ring, (documents + 1,) int64.
    """
    begins, ring = borders[:-1], borders[-1]
    ends = starts + length
    # Borders are numbered along the ring and on into its second lap, so that none are copied:
    # those inside a window are `first` up to `last`.
    first = begins.searchsorted(starts, side="right")
    end_laps, end_places = np.divmod(ends, ring)
    last = end_laps * len(begins) + begins.searchsorted(end_places, side="left")
    counts = 1 + last - first
    row_of_piece = np.repeat(np.arange(len(starts)), counts)
    number_in_row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    laps, numbers = np.divmod(first[row_of_piece] + number_in_row - 1, len(begins))
    # The first piece of a row begins where the row does, each other one at a border.
    piece_starts = np.where(number_in_row, begins[numbers] + laps * ring, starts[row_of_piece])
    is_last = np.append(np.diff(row_of_piece) > 0, True)
    next_starts = np.where(is_last, ends[row_of_piece], np.roll(piece_starts, -1))
    return Pieces(piece_starts % ring, next_starts - piece_starts, counts)


def read_batch(
    source: TokenSource, pieces: Pieces, borders: np.ndarray, *, segments: bool
) -> Batch:
    """Read the tokens of some windows.

    Args:
        source: where the tokens are.
        pieces: of the windows.
        borders: where a target may not be the token that comes next: as for `cut_at_borders`.
        segments: whether the batch says where its pieces begin.
    """
    rows = len(pieces.counts)
    ends = np.cumsum(pieces.lengths)
    offsets = np.repeat(pieces.starts - ends + pieces.lengths, pieces.lengths)
    offsets += np.arange(len(offsets))
    inputs = source.take(offsets).astype(np.int64)
    targets = np.empty_like(inputs)
    targets[:-1] = inputs[1:]
    targets[ends - 1] = _tokens_after(source, pieces, borders)
    inputs, targets = inputs.reshape(rows, -1), targets.reshape(rows, -1)
    return Batch(inputs, targets, *_segments(pieces, inputs.shape) if segments else ())


def _tokens_after(source: TokenSource, pieces: Pieces, borders: np.ndarray) -> np.ndarray:
    """Return the token after each piece, `IGNORED_TARGET` if its document ends there."""
    places = pieces.starts + pieces.lengths
    inside = borders[borders.searchsorted(places)] != places
    tokens = np.full(len(places), IGNORED_TARGET, dtype=np.int64)
    tokens[inside] = source.take(places[inside])
    return tokens


def _segments(pieces: Pieces, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return `segment_ids` and `reset` of a batch."""
    reset = np.zeros(shape, dtype=bool)
    reset.flat[np.cumsum(pieces.lengths) - pieces.lengths] = True
    return np.cumsum(reset, axis=1, dtype=np.int32) - 1, reset
