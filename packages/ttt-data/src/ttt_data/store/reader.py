"""Opens a finished token store."""

import hashlib
from pathlib import Path

import numpy as np

from ttt_config.errors import DataError, TokenStoreCorruptError
from ttt_data.store.digest import FileRecord
from ttt_data.store.header import HEADER_BYTES
from ttt_data.store.index import Index, document_bounds, index_error, index_header, read_index
from ttt_data.store.manifest import Manifest, Shard, read_manifest, shard_header
from ttt_data.store.split import ShardedSplit, TokenSplit, join_bounds, map_tokens


class TokenStore:
    """A finished token store; make one with `TokenStore.open`.

    Attributes:
        folder: where it is.
        manifest: what is in it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: str | Path) -> "TokenStore":
        """Check the manifest, the size of every file and the header of every shard.

        This reads about a kilobyte per shard. `verify_store` reads everything.

        Raises:
            DataError: the folder is no finished store.
            TokenStoreCorruptError: it is damaged.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        check_size(folder, manifest.tokenizer)
        for split in manifest.splits.values():
            for shard in split.shards:
                _check_shard(folder, manifest, shard)
        return cls(folder, manifest)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the manifest, so over the tokens and over how they were made."""
        return self.manifest.fingerprint

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits there are."""
        return tuple(self.manifest.splits)

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer.json the ids belong to."""
        return self.folder / self.manifest.tokenizer.name

    def split(self, name: str) -> TokenSplit:
        """Return one split, memory-mapped.

        Its fingerprint depends on its own shards only: not on other splits, nor on provenance.

        Raises:
            DataError: there is no such split.
        """
        if name not in self.manifest.splits:
            raise DataError(
                f"`{self.folder}` has no split `{name}`: expected one of "
                f"{', '.join(self.split_names)}"
            )
        split = self.manifest.splits[name]
        dtype = np.dtype(f"<u{self.manifest.token_bytes}")
        arrays = [
            map_tokens(
                self.folder / shard.bin.name, dtype, offset=HEADER_BYTES, count=shard.num_tokens
            )
            for shard in split.shards
        ]
        hashes = "".join(shard.bin.sha256 + shard.idx.sha256 for shard in split.shards)
        return ShardedSplit(
            arrays,
            read_bounds=lambda: join_bounds(
                _read_bounds(self.folder, shard) for shard in split.shards
            ),
            text_bytes=split.text_bytes,
            fingerprint=hashlib.sha256(hashes.encode()).hexdigest(),
        )


def check_size(folder: Path, record: FileRecord) -> None:
    """Check that a file is there and as long as the manifest says.

    Raises:
        TokenStoreCorruptError: it is not.
    """
    path = folder / record.name
    if not path.is_file():
        raise TokenStoreCorruptError(f"`{path}` is missing; the manifest lists it")
    size = path.stat().st_size
    if size != record.bytes:
        raise TokenStoreCorruptError(f"`{path}` has {size} bytes, expected {record.bytes}")


def first_difference(found: bytes, expected: bytes) -> int | None:
    """Return the first place where two byte strings differ, or None."""
    if found == expected:
        return None
    differing = (at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b)
    return next(differing, min(len(found), len(expected)))


def expected_headers(manifest: Manifest, shard: Shard) -> dict[str, bytes]:
    """Return the first bytes of the two files of a shard, which follow from the manifest."""
    return {
        shard.bin.name: shard_header(manifest, shard).encode(),
        shard.idx.name: index_header(shard.num_documents, manifest.token_bytes),
    }


def coverage_error(index: Index, shard: Shard) -> str | None:
    """Say where an index without errors of its own contradicts the manifest, or None."""
    num_tokens = int(index.lengths.sum(dtype=np.int64))
    if num_tokens != shard.num_tokens:
        return f"its documents have {num_tokens} tokens, expected {shard.num_tokens}"
    if index.pointers[0] != HEADER_BYTES:
        return f"its first document begins at byte {index.pointers[0]}, expected {HEADER_BYTES}"
    return None


def _check_shard(folder: Path, manifest: Manifest, shard: Shard) -> None:
    check_size(folder, shard.bin)
    check_size(folder, shard.idx)
    for name, expected in expected_headers(manifest, shard).items():
        with (folder / name).open("rb") as file:
            at = first_difference(file.read(len(expected)), expected)
        if at is not None:
            raise TokenStoreCorruptError(
                f"`{folder / name}` is damaged: its header differs from the manifest at byte {at}"
            )


def _read_bounds(folder: Path, shard: Shard) -> np.ndarray:
    path = folder / shard.idx.name
    index = read_index(path)
    if problem := index_error(index) or coverage_error(index, shard):
        raise TokenStoreCorruptError(f"`{path}` is damaged: {problem}")
    return document_bounds(index)
