"""Windows made of whole documents where possible.

Which pieces a window holds is the same in every epoch; it depends on the documents' bounds and on
`seq_len` only. Together the windows hold every token once, but for a rest of less than a window.
"""

import numpy as np

from ttt_config.errors import DataError
from ttt_data.loading.best_fit import pack_documents
from ttt_data.loading.pieces import Pieces
from ttt_data.loading.source import TokenSource, borders_of


class DocumentWindows:
    """The windows of a source, packed from its documents.

    Every token is an input once per epoch, and every token but the first of each document is a
    target once, except those of the rest.

    Attributes:
        count: windows in an epoch.
        borders: bounds of the documents.
        index: the packing.

    Args:
        source: of the tokens.
        seq_len: T, tokens per window.

    Raises:
        DataError: there are too few tokens for a single window.
    """

    def __init__(self, source: TokenSource, seq_len: int) -> None:
        self.borders = borders_of(source)
        if len(source) < seq_len:
            raise DataError(
                f"too little text: one window of seq_len {seq_len} needs {seq_len} tokens, "
                f"found {len(source)}; give more text or lower seq_len"
            )
        self.index = pack_documents(self.borders, seq_len)
        self.count = len(source) // seq_len
        self._seq_len = seq_len

    def pieces(self, epochs: np.ndarray, windows: np.ndarray, *, seed: int) -> Pieces:  # noqa: ARG002 - epochs differ in their order only
        """Return the pieces of some windows.

        Args:
            epochs: not used: in every epoch the windows are the same.
            windows: numbers in [0, count), or `count` for the rest, (B,) int64.
            seed: not used.
        """
        first = self.index.first_piece[windows]
        counts = self.index.first_piece[windows + 1] - first
        chosen = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return Pieces(self.index.starts[chosen], self.index.lengths[chosen], counts)

    def rows_in_order(self, stride: int) -> tuple[int, int]:
        """Count the windows, then the rest, as `PackedWindows.rows_in_order` does.

        Raises:
            ValueError: `stride` is not `seq_len`: these windows do not overlap.
        """
        if stride != self._seq_len:
            raise ValueError(f"windows of documents cannot overlap, but stride is {stride}")
        return self.count, len(self.index.first_piece) - 1 - self.count

    def pieces_in_order(self, rows: np.ndarray, stride: int) -> Pieces:  # noqa: ARG002 - checked above
        """Return the pieces of some of the rows that `rows_in_order` counts, equally long ones."""
        return self.pieces(np.zeros_like(rows), rows, seed=0)
