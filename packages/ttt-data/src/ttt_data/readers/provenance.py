"""Where text came from, precisely enough to notice when it changes."""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers.shown import shown

WHOLE_BYTES = 1 << 30
"""Files up to this size are hashed whole, which takes far less time than reading their text."""

_NUM_SAMPLES = 64
_SAMPLE_BYTES = 1 << 20


class FileRecord(Struct, frozen=True):
    """What a file was when it was read; its time stamps are not part of it.

    Attributes:
        name: relative to the source.
        bytes: size on disk.
        sha256: of the whole file, or if `sampled` of 64 blocks of 1 MiB spread evenly over it, the
            first and the last included.
        sampled: the file is larger than 1 GiB.
    """

    name: str
    bytes: int
    sha256: str
    sampled: bool = False


class Provenance(Struct, frozen=True, kw_only=True):
    """A record of a source, to be kept with what is made from it.

    Attributes:
        kind: how the source is read.
        spec: the source as the user wrote it.
        facts: everything its documents depend on besides the content of the files.
        files: in reading order; empty for the built-in sources.

    The fingerprint covers all but `spec` and the names of the files, so that data may be moved.
    """

    kind: Literal["files", "chronicles", "stdlib"]
    spec: str
    facts: dict[str, object]
    files: tuple[FileRecord, ...] = ()

    def fingerprint(self) -> str:
        """Return a SHA-256 that two sources share if they give the same documents and splits."""
        contents = [(file.bytes, file.sha256) for file in self.files]
        content = {"kind": self.kind, "facts": self.facts, "files": contents}
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def record_file(path: Path, name: str) -> FileRecord:
    """Hash a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= WHOLE_BYTES:
                return FileRecord(name, size, hashlib.file_digest(file, "sha256").hexdigest())
            digest = hashlib.sha256()
            for sample in range(_NUM_SAMPLES):
                file.seek(sample * (size - _SAMPLE_BYTES) // (_NUM_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise DataError(f"cannot read `{shown(path)}`: {error.strerror or error}") from error
    return FileRecord(name, size, digest.hexdigest(), sampled=True)
