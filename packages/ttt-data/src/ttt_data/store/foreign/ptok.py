"""ttt-rs's `PTOK`: one document per row, cut or padded to the length of a row.

| bytes | type   | content             |
|-------|--------|---------------------|
| 0     | `PTOK` | magic               |
| 4     | u32    | version, 1          |
| 8     | u64    | rows                |
| 16    | u32    | tokens per row      |
| 20    | u32    | id of the padding   |
| 24    | u32[]  | the rows            |
"""

import struct
from functools import cached_property
from pathlib import Path

import numpy as np

from ttt_config.errors import DataError
from ttt_data.store.foreign.detect import PTOK_MAGIC
from ttt_data.store.foreign.flat import check_size
from ttt_data.store.split import CHUNK_TOKENS, check_offsets, check_range, hash_tokens, map_tokens

PTOK_HEADER = struct.Struct("<4sIQII")
PTOK_VERSION = 1


class PaddedRows:
    """A `TokenSplit` over rows of fixed length, without the padding at their ends.

    A row's end is where only padding follows. If padding and end-of-text are the same id, as
    ttt-rs has it for GPT-2, the end-of-text token of a document is taken for padding too.

    Args:
        rows: (rows, tokens per row), memory-mapped.
        pad_id: id of the padding.
    """

    text_bytes: int | None = None

    def __init__(self, rows: np.ndarray, pad_id: int) -> None:
        self.dtype = rows.dtype
        self._rows = rows
        self._pad_id = pad_id

    def __len__(self) -> int:
        return int(self.document_bounds[-1])

    @cached_property
    def document_bounds(self) -> np.ndarray:
        """As in `TokenSplit`; reads all rows once."""
        num_rows, row_length = self._rows.shape
        bounds = np.zeros(num_rows + 1, dtype=np.int64)
        rows_per_chunk = max(1, CHUNK_TOKENS // row_length)
        for start in range(0, num_rows, rows_per_chunk):
            is_text = self._rows[start : start + rows_per_chunk, ::-1] != self._pad_id
            lengths = np.where(is_text.any(axis=1), row_length - is_text.argmax(axis=1), 0)
            bounds[start + 1 : start + 1 + len(lengths)] = lengths
        return np.cumsum(bounds)

    @cached_property
    def fingerprint(self) -> str:
        """As in `TokenSplit`."""
        return hash_tokens(self)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """As in `TokenSplit`; copies where padding lies in between."""
        check_range(start, stop, len(self))
        row = int(self.document_bounds.searchsorted(start, side="right")) - 1
        if start < stop <= self.document_bounds[row + 1]:
            begin = self.document_bounds[row]
            return self._rows[row, start - begin : stop - begin]
        return self.take(np.arange(start, stop, dtype=np.int64))

    def take(self, offsets: np.ndarray) -> np.ndarray:
        """As in `TokenSplit`."""
        check_offsets(offsets, len(self))
        row = self.document_bounds.searchsorted(offsets, side="right") - 1
        return self._rows[row, offsets - self.document_bounds[row]]


def open_ptok(path: Path) -> PaddedRows:
    """Open a PTOK file.

    Raises:
        DataError: it is too small, no PTOK file, of another version, or not of the size it says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(PTOK_HEADER.size)
    if len(head) < PTOK_HEADER.size:
        raise DataError(
            f"`{path}` is too small for a PTOK header: expected at least {PTOK_HEADER.size} "
            f"bytes, got {size}"
        )
    magic, version, num_rows, row_length, pad_id = PTOK_HEADER.unpack(head)
    if magic != PTOK_MAGIC:
        raise DataError(
            f"`{path}` is not a PTOK file: expected magic {PTOK_MAGIC!r}, got {magic!r}"
        )
    if version != PTOK_VERSION:
        raise DataError(
            f"`{path}` has unsupported version {version} of PTOK, expected {PTOK_VERSION}"
        )
    if row_length == 0:
        raise DataError(f"`{path}` has rows of 0 tokens, expected 1 or more")
    count = num_rows * row_length
    check_size(path, PTOK_HEADER.size + count * 4, size)
    tokens = map_tokens(path, np.dtype("<u4"), offset=PTOK_HEADER.size, count=count)
    return PaddedRows(tokens.reshape(num_rows, row_length), pad_id)
