"""Formats that are one row of tokens, and how to find the documents in one."""

from pathlib import Path
from tokenize import TokenError
from typing import Literal

import numpy as np
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.store.foreign.detect import NPY_MAGIC, megatron_pair
from ttt_data.store.header import HEADER_BYTES, LLMC_HEADER, LLMC_VERSIONS
from ttt_data.store.index import document_bounds, index_error, read_index
from ttt_data.store.split import CHUNK_TOKENS, map_tokens

RawType = Literal["u16", "u32"]

# What numpy lets through from the parsers of the Python literal that a header of .npy is.
_MALFORMED = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, TokenError)


class FlatFile(Struct, frozen=True):
    """The tokens of a file.

    Attributes:
        tokens: (tokens,), memory-mapped.
        bounds: (documents + 1,) int64; None if the format knows of no documents.
    """

    tokens: np.ndarray
    bounds: np.ndarray | None = None


def open_raw(path: Path, dtype: RawType) -> FlatFile:
    """Open tokens without any header, as nanoGPT has them."""
    item = np.dtype({"u16": "<u2", "u32": "<u4"}[dtype])
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"`{path}` is empty: expected raw {dtype} tokens")
    if size % item.itemsize:
        raise DataError(
            f"`{path}` is not a row of {dtype} tokens: {size} bytes are no multiple of "
            f"{item.itemsize}"
        )
    return FlatFile(map_tokens(path, item, offset=0, count=size // item.itemsize))


def open_llmc(path: Path) -> FlatFile:
    """Open a `.bin` of llm.c: 256 int32 of which three are used, then tokens."""
    size = path.stat().st_size
    if size < HEADER_BYTES:
        raise DataError(
            f"`{path}` is too small for an llm.c header: expected at least {HEADER_BYTES} bytes, "
            f"got {size}"
        )
    with path.open("rb") as file:
        magic, version, num_tokens = LLMC_HEADER.unpack(file.read(LLMC_HEADER.size))
    known = {known_magic: (found, size_) for size_, (known_magic, found) in LLMC_VERSIONS.items()}
    if magic not in known:
        raise DataError(
            f"`{path}` is not an llm.c file: expected magic {' or '.join(map(str, known))}, "
            f"got {magic}"
        )
    known_version, token_bytes = known[magic]
    if version != known_version:
        raise DataError(
            f"`{path}` has unsupported version {version} of llm.c's format, "
            f"expected {known_version}"
        )
    check_size(path, HEADER_BYTES + num_tokens * token_bytes, size)
    dtype = np.dtype(f"<u{token_bytes}")
    return FlatFile(map_tokens(path, dtype, offset=HEADER_BYTES, count=num_tokens))


def open_megatron(path: Path) -> FlatFile:
    """Open a `.bin` and its `.idx`; the sequences must lie end to end, as Megatron writes them."""
    bin_path, idx_path = megatron_pair(path)
    for needed in (bin_path, idx_path):
        if not needed.is_file():
            raise DataError(f"`{needed}` is missing: Megatron's format is a .bin and an .idx")
    index = read_index(idx_path)
    if problem := index_error(index):
        raise DataError(f"`{idx_path}` is damaged: {problem}")
    bounds = document_bounds(index)
    num_tokens = int(bounds[-1])
    start = int(index.pointers[0]) if len(index.pointers) else 0
    stop = start + num_tokens * index.dtype.itemsize
    size = bin_path.stat().st_size
    if start < 0 or size < stop:
        raise DataError(
            f"`{bin_path}`: file size mismatch: its index expects bytes {start} to {stop}, "
            f"got {size} bytes"
        )
    return FlatFile(map_tokens(bin_path, index.dtype, offset=start, count=num_tokens), bounds)


def open_npy(path: Path) -> FlatFile:
    """Open a one-dimensional array of integers; nothing is ever unpickled."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with path.open("rb") as file:
        magic = file.read(len(NPY_MAGIC) + 2)
        if not magic.startswith(NPY_MAGIC) or len(magic) < len(NPY_MAGIC) + 2:
            raise DataError(f"`{path}` is not an .npy file: expected magic {NPY_MAGIC!r}")
        version = (magic[-2], magic[-1])
        if version not in readers:
            raise DataError(
                f"`{path}` has unsupported version {version[0]}.{version[1]} of .npy, "
                "expected 1.0 or 2.0"
            )
        try:
            shape, _, dtype = readers[version](file)
        except _MALFORMED as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"`{path}` has a damaged .npy header: {reason}") from error
        offset = file.tell()
    if len(shape) != 1 or dtype.kind not in "iu" or dtype.newbyteorder("<") != dtype:
        raise DataError(
            f"`{path}` is not a row of tokens: expected little-endian integers in one dimension, "
            f"got {dtype} of shape {shape}"
        )
    check_size(path, offset + shape[0] * dtype.itemsize, path.stat().st_size)
    return FlatFile(map_tokens(path, dtype, offset=offset, count=shape[0]))


def check_size(path: Path, expected: int, got: int) -> None:
    """Refuse a file that is not as long as its header says.

    Raises:
        DataError: the sizes differ.
    """
    if expected != got:
        raise DataError(f"`{path}`: file size mismatch: expected {expected} bytes, got {got}")


def find_bounds(tokens: np.ndarray, *, eos_id: int | None, bos_id: int | None) -> np.ndarray:
    """Return document bounds: after every `eos_id`, or at every `bos_id`, or only at both ends."""
    marker, shift = (eos_id, 1) if eos_id is not None else (bos_id, 0)
    found = [np.zeros(1, dtype=np.int64)]
    if marker is not None:
        for start in range(0, len(tokens), CHUNK_TOKENS):
            chunk = tokens[start : start + CHUNK_TOKENS]
            found.append(np.flatnonzero(chunk == marker) + (start + shift))
    found.append(np.array([len(tokens)], dtype=np.int64))
    return np.unique(np.concatenate(found))
