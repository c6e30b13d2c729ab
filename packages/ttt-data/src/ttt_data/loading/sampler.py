"""The samples of one source."""

import hashlib
from typing import NamedTuple

import numpy as np

from ttt_data.loading.batch import IGNORED_TARGET, Batch
from ttt_data.loading.documents import DocumentWindows
from ttt_data.loading.order import epochs_and_windows
from ttt_data.loading.packed import PackedWindows
from ttt_data.loading.pieces import Pieces, read_batch
from ttt_data.loading.source import TokenSource


class Located(NamedTuple):
    """Where some samples of a source are; epochs and windows are (B,) int64."""

    epochs: np.ndarray
    windows: np.ndarray
    pieces: Pieces


class SourceSampler:
    """Gives the n-th sample of a source, as a pure function of n.

    Attributes:
        count: samples of an epoch.

    Args:
        source: of the tokens.
        windows: how they are cut.
        seed: of the order.
        shuffle: false for the order of the text.
        segments: whether batches say where pieces begin.
    """

    def __init__(
        self,
        source: TokenSource,
        windows: PackedWindows | DocumentWindows,
        *,
        seed: int,
        shuffle: bool,
        segments: bool,
    ) -> None:
        self.count = windows.count
        self._source = source
        self._windows = windows
        self._seed = seed
        self._shuffle = shuffle
        self._segments = segments

    def locate(self, positions: np.ndarray) -> Located:
        """Say where samples are, given their numbers among those of this source, (B,) int64."""
        epochs, windows = epochs_and_windows(
            positions, self.count, seed=self._seed, shuffle=self._shuffle
        )
        return Located(epochs, windows, self._windows.pieces(epochs, windows, seed=self._seed))

    def read(self, positions: np.ndarray) -> Batch:
        """Read samples, given their numbers among those of this source, (B,) int64."""
        return self._read(self.locate(positions).pieces)

    def rows_in_order(self, stride: int) -> tuple[int, int]:
        """Count the rows in the order of the text: full ones, then shorter ones (0 or 1)."""
        return self._windows.rows_in_order(stride)

    def read_in_order(self, rows: np.ndarray, *, overlap: int, stride: int) -> Batch:
        """Read equally long rows in the order of the text.

        Args:
            rows: their numbers, (B,) int64, at least one.
            overlap: tokens each row shares with the one before it; these are masked as targets.
            stride: tokens from the start of a row to that of the next.
        """
        batch = self._read(self._windows.pieces_in_order(rows, stride))
        batch.targets[rows > 0, :overlap] = IGNORED_TARGET
        return batch

    def _read(self, pieces: Pieces) -> Batch:
        return read_batch(self._source, pieces, self._windows.borders, segments=self._segments)


def source_seed(seed: int, source: int) -> int:
    """Give each source of a mixture an order of its own."""
    digest = hashlib.sha256(f"source/{seed}/{source}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
