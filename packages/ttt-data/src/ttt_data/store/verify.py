"""Reads a whole token store and names everything that is not as it was written."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.store.digest import (
    BLOCK_BYTES,
    Digest,
    FileRecord,
    differing_blocks,
    read_blocks,
    record_file,
)
from ttt_data.store.header import HEADER_BYTES
from ttt_data.store.index import index_error, read_index
from ttt_data.store.manifest import MANIFEST_NAME, Manifest, Shard, read_manifest
from ttt_data.store.reader import coverage_error, expected_headers, first_difference


class Problem(Struct, frozen=True):
    """Something wrong with one file.

    Attributes:
        file: its name in the folder.
        message: what is wrong.
        start: first byte of the part that is wrong, as near as can be said; None for the file.
        stop: byte after that part.
    """

    file: str
    message: str
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        if self.start is None or self.stop is None:
            return f"{self.file}: {self.message}"
        return f"{self.file}, bytes {self.start} to {self.stop - 1}: {self.message}"


def verify_store(folder: str | Path) -> list[Problem]:
    """Check every byte of a store.

    Files are hashed block by block against the manifest; headers and indexes must say what the
    manifest says, and every id must be in the vocabulary. Nothing is raised for a damaged store.

    Returns:
        The problems found, empty if there are none.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        return [Problem(MANIFEST_NAME, str(error))]
    problems = _check(folder, manifest.tokenizer, _check_tokenizer(folder, manifest))
    expected = {MANIFEST_NAME, manifest.tokenizer.name}
    for split in manifest.splits.values():
        for shard in split.shards:
            problems += _check(folder, shard.bin, _check_bin(folder, manifest, shard))
            problems += _check(folder, shard.idx, _check_idx(folder, manifest, shard))
            expected |= {shard.bin.name, shard.idx.name}
    extra = sorted({path.name for path in folder.iterdir()} - expected)
    problems += [Problem(name, "is not part of the store") for name in extra]
    return problems


def _check(folder: Path, record: FileRecord, content: Iterator[Problem]) -> list[Problem]:
    """Check the size of a file and then, if that is right, its content."""
    path = folder / record.name
    if not path.is_file():
        return [Problem(record.name, "is missing")]
    size = path.stat().st_size
    if size != record.bytes:
        how = "is cut short" if size < record.bytes else "has grown"
        return [Problem(record.name, f"{how}: {size} bytes, expected {record.bytes}")]
    try:
        return list(content)
    except OSError as error:
        return [Problem(record.name, f"cannot be read: {error.strerror}")]


def _check_tokenizer(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    found = record_file(folder / manifest.tokenizer.name)
    yield from _hash_problems(found, manifest.tokenizer)


def _check_bin(folder: Path, manifest: Manifest, shard: Shard) -> Iterator[Problem]:
    digest = Digest()
    crc32 = 0
    dtype = np.dtype(f"<u{manifest.token_bytes}")
    for number, block in enumerate(read_blocks(folder / shard.bin.name)):
        digest.update(block)
        header_bytes = 0 if number else HEADER_BYTES
        payload = memoryview(block)[header_bytes:]
        crc32 = zlib.crc32(payload, crc32)
        tokens = np.frombuffer(payload, dtype)
        if len(tokens) and tokens.max() >= manifest.vocab_size:
            at = int(np.argmax(tokens >= manifest.vocab_size))
            start = number * BLOCK_BYTES + header_bytes + at * dtype.itemsize
            message = f"token is {tokens[at]}, expected an id below {manifest.vocab_size}"
            yield Problem(shard.bin.name, message, start, start + dtype.itemsize)
    yield from _header_problems(folder, manifest, shard, shard.bin.name)
    if f"{crc32:08x}" != shard.tokens_crc32:
        message = f"tokens have CRC-32 {crc32:08x}, expected {shard.tokens_crc32}"
        yield Problem(shard.bin.name, message, HEADER_BYTES, shard.bin.bytes)
    yield from _hash_problems(digest.record(shard.bin.name), shard.bin)


def _check_idx(folder: Path, manifest: Manifest, shard: Shard) -> Iterator[Problem]:
    yield from _header_problems(folder, manifest, shard, shard.idx.name)
    yield from _hash_problems(record_file(folder / shard.idx.name), shard.idx)
    try:
        index = read_index(folder / shard.idx.name)
    except DataError as error:
        yield Problem(shard.idx.name, str(error))
        return
    if message := index_error(index) or coverage_error(index, shard):
        yield Problem(shard.idx.name, message)


def _header_problems(
    folder: Path, manifest: Manifest, shard: Shard, name: str
) -> Iterator[Problem]:
    expected = expected_headers(manifest, shard)[name]
    with (folder / name).open("rb") as file:
        found = file.read(len(expected))
    at = first_difference(found, expected)
    if at is not None:
        yield Problem(name, "header differs from what the manifest says", at, at + 1)


def _hash_problems(found: FileRecord, expected: FileRecord) -> Iterator[Problem]:
    blocks = differing_blocks(found, expected)
    for block in blocks:
        start = block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, expected.bytes)
        yield Problem(expected.name, f"block {block} is not what was written", start, stop)
    if found.sha256 != expected.sha256 and not blocks:
        message = f"sha256 is {found.sha256[:12]}, expected {expected.sha256[:12]}"
        yield Problem(expected.name, message)
