"""Megatron's `.idx`: where in the `.bin` every sequence lies and which sequences form a document.

Byte table: `ttt_data.store`. The arrays begin at byte 34, so none of them is aligned.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from ttt_config.errors import DataError

INDEX_HEADER = struct.Struct("<9sQBQQ")
INDEX_MAGIC = b"MMIDIDX\0\0"
INDEX_VERSION = 1

_LENGTH = np.dtype("<i4")
_POINTER = np.dtype("<i8")
_TOKEN_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
# Megatron has no code for uint32; ids stay below 2**31, where int32 has the same bytes.
_CODES = {2: 8, 4: 4}
_CHUNK = 1 << 18


class Index(Struct, frozen=True):
    """The content of an `.idx`, memory-mapped.

    Attributes:
        dtype: of the tokens.
        lengths: (sequences,) int32, in tokens.
        pointers: (sequences,) int64, first byte of each sequence in the `.bin`.
        documents: (documents + 1,) int64, first sequence of each document, then their number.
    """

    dtype: np.dtype
    lengths: np.ndarray
    pointers: np.ndarray
    documents: np.ndarray


def index_header(num_documents: int, token_bytes: int) -> bytes:
    """Return the first bytes of an index in which every document is one sequence."""
    return INDEX_HEADER.pack(
        INDEX_MAGIC, INDEX_VERSION, _CODES[token_bytes], num_documents, num_documents + 1
    )


def index_bytes(num_documents: int) -> int:
    """Return the size of an index in which every document is one sequence."""
    arrays = num_documents * (_LENGTH.itemsize + _POINTER.itemsize)
    return INDEX_HEADER.size + arrays + (num_documents + 1) * _POINTER.itemsize


def encode_index(lengths: np.ndarray, *, token_bytes: int, first_byte: int) -> Iterator[bytes]:
    """Yield the bytes of an index in which every document is one sequence.

    Args:
        lengths: (documents,) int32, tokens of each document.
        token_bytes: 2 or 4.
        first_byte: place of the first token in the `.bin`.
    """
    num_documents = len(lengths)
    yield index_header(num_documents, token_bytes)
    for start in range(0, num_documents, _CHUNK):
        yield lengths[start : start + _CHUNK].astype(_LENGTH).tobytes()
    for start in range(0, num_documents, _CHUNK):
        sizes = lengths[start : start + _CHUNK].astype(_POINTER) * token_bytes
        yield (first_byte + np.cumsum(sizes) - sizes).astype(_POINTER).tobytes()
        first_byte += int(sizes.sum())
    for start in range(0, num_documents + 1, _CHUNK):
        stop = min(start + _CHUNK, num_documents + 1)
        yield np.arange(start, stop, dtype=_POINTER).tobytes()


def read_index(path: Path) -> Index:
    """Map an index and check its header and size, not yet the arrays.

    Raises:
        DataError: it is not an index of tokens, or not of the size its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(INDEX_HEADER.size)
    if len(head) < INDEX_HEADER.size:
        raise DataError(
            f"`{path}` is too small for a Megatron index: expected at least {INDEX_HEADER.size} "
            f"bytes, got {size}"
        )
    magic, version, code, num_sequences, num_pointers = INDEX_HEADER.unpack(head)
    if magic != INDEX_MAGIC:
        raise DataError(
            f"`{path}` is not a Megatron index: expected magic {INDEX_MAGIC!r}, got {magic!r}"
        )
    if version != INDEX_VERSION:
        raise DataError(
            f"`{path}` has unsupported version {version} of the Megatron index, expected 1"
        )
    if code not in _TOKEN_TYPES:
        raise DataError(
            f"`{path}` has dtype code {code}: tokens are integers, "
            f"expected one of {', '.join(map(str, _TOKEN_TYPES))}"
        )
    arrays = num_sequences * (_LENGTH.itemsize + _POINTER.itemsize)
    expected = INDEX_HEADER.size + arrays + num_pointers * _POINTER.itemsize
    if size not in {expected, expected + num_sequences}:  # a multimodal index adds a byte for each
        raise DataError(f"`{path}`: file size mismatch: expected {expected} bytes, got {size}")
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    split_at = INDEX_HEADER.size + np.cumsum(
        [num_sequences * _LENGTH.itemsize, num_sequences * _POINTER.itemsize]
    )
    return Index(
        np.dtype(_TOKEN_TYPES[code]),
        content[INDEX_HEADER.size : split_at[0]].view(_LENGTH),
        content[split_at[0] : split_at[1]].view(_POINTER),
        content[split_at[1] : expected].view(_POINTER),
    )


def index_error(index: Index) -> str | None:
    """Say what is wrong in an index whose sequences must lie end to end, or None."""
    lengths = index.lengths.astype(np.int64)
    if len(lengths) and lengths.min() < 0:
        return f"sequence {int(np.argmin(lengths))} has a negative length"
    gaps = np.flatnonzero(np.diff(index.pointers) != lengths[:-1] * index.dtype.itemsize)
    if len(gaps):
        at = int(gaps[0])
        return (
            f"sequence {at} has {lengths[at]} tokens, but its pointer and the next are "
            f"{int(index.pointers[at + 1]) - int(index.pointers[at])} bytes apart"
        )
    documents = index.documents
    if len(documents) == 0 or documents[0] != 0 or documents[-1] != len(lengths):
        return f"its documents do not cover its {len(lengths)} sequences"
    if np.any(np.diff(documents) < 0):
        return f"document {int(np.argmin(np.diff(documents)))} ends before it begins"
    return None


def document_bounds(index: Index) -> np.ndarray:
    """Return the place of each document among the tokens, (documents + 1,) int64."""
    bounds = np.zeros(len(index.lengths) + 1, dtype=np.int64)
    np.cumsum(index.lengths, dtype=np.int64, out=bounds[1:])
    return bounds[index.documents]
