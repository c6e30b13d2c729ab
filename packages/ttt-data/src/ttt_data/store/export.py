"""Writes a split in the format of another program."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.store.durable import AtomicFile
from ttt_data.store.foreign.detect import PTOK_MAGIC, megatron_pair
from ttt_data.store.foreign.ptok import PTOK_HEADER, PTOK_VERSION
from ttt_data.store.header import llmc_header
from ttt_data.store.index import encode_index
from ttt_data.store.manifest import MAX_INT32
from ttt_data.store.split import CHUNK_TOKENS, TokenSplit, iterate_chunks

ExportFormat = Literal["nanogpt", "llmc", "megatron", "npy", "ptok"]

_LIMITS = {2: (1 << 16) - 1, 4: MAX_INT32}


class Exported(Struct, frozen=True):
    """What an export wrote.

    Attributes:
        files: the files.
        num_tokens: tokens in them, padding not counted.
        num_dropped: tokens left out because their document was longer than a row.
    """

    files: list[Path]
    num_tokens: int
    num_dropped: int = 0


def export_split(
    split: TokenSplit,
    path: str | Path,
    to: ExportFormat,
    *,
    row_length: int | None = None,
    pad_id: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a split as one file (for `megatron`, as one pair), in pieces of bounded size.

    Files appear whole or not at all. Tokens are u16 for `nanogpt`, u32 for `ptok`, else as wide
    as those of the split.

    Args:
        split: of a store, or of foreign files.
        path: the file; for `megatron` the `.bin`, the `.idx`, or their common part.
        to: format.
        row_length: for `ptok`, tokens per row; longer documents are cut, shorter ones padded.
        pad_id: for `ptok`, the padding.
        overwrite: replace files that are there.

    Raises:
        DataError: the format cannot hold this split, a file exists, or the disk is full.
    """
    path = Path(path)
    files = list(megatron_pair(path)) if to == "megatron" else [path]
    if not overwrite and (existing := [file for file in files if file.exists()]):
        raise DataError(f"`{existing[0]}` exists; replace it with overwrite=True")
    if to == "ptok":
        return _export_ptok(split, path, row_length, pad_id)
    dtype = np.dtype("<u2") if to == "nanogpt" or split.dtype.itemsize <= 2 else np.dtype("<u4")
    head = b""
    if to == "llmc":
        if len(split) > MAX_INT32:
            raise DataError(
                f"an llm.c file counts up to {MAX_INT32:,} tokens, the split has {len(split):,}; "
                "the shards of a token store are llm.c files already"
            )
        head = llmc_header(dtype.itemsize, len(split))
    elif to == "npy":
        head = _npy_header(len(split), dtype)
    _write(files[0], head, _cast(split, dtype))
    if to == "megatron":
        lengths = np.diff(split.document_bounds)
        if len(lengths) and lengths.max() > MAX_INT32:
            raise DataError(f"a Megatron sequence has up to {MAX_INT32:,} tokens")
        _write(files[1], b"", encode_index(lengths, token_bytes=dtype.itemsize, first_byte=0))
    return Exported(files, len(split))


def _export_ptok(
    split: TokenSplit, path: Path, row_length: int | None, pad_id: int | None
) -> Exported:
    if row_length is None or row_length < 1:
        raise DataError(f"ptok needs a row_length of 1 or more, got {row_length}")
    if pad_id is None:
        raise DataError("ptok needs a pad_id: the id that fills up the rows of short documents")
    bounds = split.document_bounds
    kept = np.minimum(np.diff(bounds), row_length)
    head = PTOK_HEADER.pack(PTOK_MAGIC, PTOK_VERSION, len(kept), row_length, pad_id)
    _write(path, head, _padded_rows(split, kept, row_length, pad_id))
    num_tokens = int(kept.sum())
    return Exported([path], num_tokens, len(split) - num_tokens)


def _padded_rows(
    split: TokenSplit, kept: np.ndarray, row_length: int, pad_id: int
) -> Iterator[bytes]:
    starts = split.document_bounds[:-1]
    rows_at_once = max(1, CHUNK_TOKENS // row_length)
    for first in range(0, len(kept), rows_at_once):
        lengths = kept[first : first + rows_at_once]
        rows = np.full((len(lengths), row_length), pad_id, dtype="<u4")
        for row, start, length in zip(rows, starts[first:], lengths, strict=False):
            row[:length] = split.tokens(int(start), int(start + length))
        yield rows.tobytes()


def _cast(split: TokenSplit, dtype: np.dtype) -> Iterator[bytes]:
    """The tokens in the type of the file, checked where it could be too small."""
    limit = _LIMITS[dtype.itemsize]
    start = 0
    for chunk in iterate_chunks(split):
        if chunk.dtype != dtype and (chunk.max() > limit or chunk.min() < 0):
            at = int(np.argmax((chunk > limit) | (chunk < 0)))
            raise DataError(
                f"token {start + at} is {chunk[at]}, but this format holds ids up to {limit}"
            )
        yield chunk.astype(dtype, copy=False).tobytes()
        start += len(chunk)


def _npy_header(num_tokens: int, dtype: np.dtype) -> bytes:
    head = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": (num_tokens,)}
    np.lib.format.write_array_header_1_0(head, description)
    return head.getvalue()


def _write(path: Path, head: bytes, content: Iterable[bytes]) -> None:
    with AtomicFile(path) as file:
        file.write(head)
        for piece in content:
            file.write(piece)
