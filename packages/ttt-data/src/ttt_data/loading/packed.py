"""Windows that lie side by side in the tokens.

The tokens form a ring, on which window w of an epoch begins at token `offset + w * seq_len`. The
offset is another one in every epoch, so no token is always the first of its window. A ring holds as
many windows whatever the offset. Where it closes, the last token has no target.
"""

import hashlib

import numpy as np

from ttt_config.errors import DataError
from ttt_data.loading.pieces import Pieces, cut_at_borders
from ttt_data.loading.source import TokenSource, borders_of


class PackedWindows:
    """The windows of a source, whatever its documents.

    In one epoch no token is an input twice, and at most `seq_len` - 1 tokens are none: others in
    every epoch.

    Attributes:
        count: windows in an epoch.
        borders: where targets are masked: the bounds of documents, or of the whole source.

    Args:
        source: of the tokens.
        seq_len: T, tokens per window.
        mask_borders: whether targets in another document are masked.
        move_windows: whether epochs have offsets; without, window w begins at `w * seq_len`.

    Raises:
        DataError: there are too few tokens for a single window.
    """

    def __init__(
        self, source: TokenSource, seq_len: int, *, mask_borders: bool, move_windows: bool
    ) -> None:
        if len(source) < seq_len + 1:
            raise DataError(
                f"too little text: one window of seq_len {seq_len} needs {seq_len + 1} tokens, "
                f"found {len(source)}; give more text or lower seq_len"
            )
        self.count = len(source) // seq_len
        self.borders = borders_of(source) if mask_borders else np.array([0, len(source)])
        self._num_tokens = len(source)
        self._seq_len = seq_len
        self._move_windows = move_windows

    def pieces(self, epochs: np.ndarray, windows: np.ndarray, *, seed: int) -> Pieces:
        """Return the pieces of some windows.

        Args:
            epochs: the epoch of each window, (B,) int64.
            windows: numbers in [0, count), (B,) int64.
            seed: of the offsets.
        """
        starts = windows * self._seq_len
        if self._move_windows:
            for epoch in set(epochs.tolist()):
                starts[epochs == epoch] += epoch_offset(seed, epoch, self._seq_len)
        return cut_at_borders(starts % self._num_tokens, self._seq_len, self.borders)

    def rows_in_order(self, stride: int) -> tuple[int, int]:
        """Count the rows, `stride` apart, that have every token but the first as a target.

        Returns:
            Rows of `seq_len` tokens, then 1 if one more row is needed, which is shorter; else 0.
        """
        full = (self._num_tokens - 1 - self._seq_len) // stride + 1
        covered = (full - 1) * stride + self._seq_len
        return full, int(covered < self._num_tokens - 1)

    def pieces_in_order(self, rows: np.ndarray, stride: int) -> Pieces:
        """Return the pieces of some of the rows that `rows_in_order` counts, equally long ones."""
        starts = rows * stride
        length = min(self._seq_len, self._num_tokens - 1 - int(starts[-1]))
        return cut_at_borders(starts, length, self.borders)


def epoch_offset(seed: int, epoch: int, seq_len: int) -> int:
    """Return where the first window of an epoch begins, in [0, seq_len)."""
    digest = hashlib.sha256(f"offset/{seed}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % seq_len
