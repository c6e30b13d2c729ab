"""What a file must be: its size, its SHA-256, and a checksum per MiB that tells where damage is."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

BLOCK_BYTES = 1 << 20

FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A plain name: no separator, no leading dot, so it cannot lead out of its folder."""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, lt=1 << 62)]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of one file, as hashes."""

    name: FileName
    bytes: Count
    sha256: Sha256
    crc32: Annotated[str, Meta(pattern="^([0-9a-f]{8})*$")]
    """Eight digits for each block of `BLOCK_BYTES`, the last one shorter."""


class Digest:
    """Builds a `FileRecord` from the blocks of a file."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._crc32: list[str] = []
        self._num_bytes = 0

    def update(self, block: bytes) -> None:
        """Take in the next `BLOCK_BYTES`; only the last block may be shorter."""
        self._sha256.update(block)
        self._crc32.append(f"{zlib.crc32(block):08x}")
        self._num_bytes += len(block)

    def record(self, name: str) -> FileRecord:
        """Return the record of all blocks so far."""
        return FileRecord(name, self._num_bytes, self._sha256.hexdigest(), "".join(self._crc32))


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield a file in blocks of `BLOCK_BYTES`."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def record_bytes(name: str, content: bytes) -> FileRecord:
    """Return the record of a file with this content."""
    digest = Digest()
    for start in range(0, len(content), BLOCK_BYTES):
        digest.update(content[start : start + BLOCK_BYTES])
    return digest.record(name)


def record_file(path: Path) -> FileRecord:
    """Return the record of a file, read in blocks."""
    digest = Digest()
    for block in read_blocks(path):
        digest.update(block)
    return digest.record(path.name)


def differing_blocks(found: FileRecord, expected: FileRecord) -> list[int]:
    """Return the numbers of the blocks that differ, for two records of the same size."""
    return [
        start // 8
        for start in range(0, len(expected.crc32), 8)
        if found.crc32[start : start + 8] != expected.crc32[start : start + 8]
    ]
