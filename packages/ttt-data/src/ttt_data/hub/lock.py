"""The lock file beside downloaded data: which commit it is, and what every file must be.

It is written when a dataset is first looked up, and holds from then on: later fetches need no
listing, follow no moving branch, and refuse a file that differs.
"""

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.hub.client import RemoteFile
from ttt_data.hub.reference import is_safe
from ttt_data.hub.transfer import sync_folder

LOCK_NAME = "hub.lock"


class HubLock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a lock file.

    Attributes:
        format: version of this layout.
        repo: `owner/name`.
        revision: as it was asked for.
        commit: what the revision was at that time.
        files: all that may be fetched into the folder; a hash the hub does not know is added after
            the first download.
    """

    format: int = 1
    repo: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]

    @classmethod
    def read(cls, folder: Path) -> "HubLock | None":
        """Read the lock of a folder; None if it has none.

        Raises:
            DataError: it is damaged.
        """
        path = folder / LOCK_NAME
        try:
            lock = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read `{path}`: {error}; delete it to start afresh") from error
        if lock.format != 1 or not all(is_safe(file.path) for file in lock.files):
            raise DataError(f"`{path}` is not a lock file of this version; delete it")
        return lock

    def write(self, folder: Path) -> None:
        """Replace the lock of a folder in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{LOCK_NAME}.part"
        with fresh.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(folder / LOCK_NAME)
        sync_folder(folder)

    def with_hash(self, path: str, sha256: str) -> "HubLock":
        """The lock with the hash of one file."""
        files = tuple(
            RemoteFile(file.path, file.bytes, sha256) if file.path == path else file
            for file in self.files
        )
        return msgspec.structs.replace(self, files=files)


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_unchanged(folder: Path, file: RemoteFile, *, by_hash: bool) -> None:
    """Compare a file that is there with the lock.

    Args:
        folder: that of the lock.
        file: what the lock says.
        by_hash: compare the content; otherwise only the size.

    Raises:
        DataError: the file differs.
    """
    path = folder / file.path
    size = path.stat().st_size
    if size != file.bytes:
        raise _changed(path, f"{file.bytes:,} bytes", f"{size:,}")
    if by_hash and file.sha256 is not None:
        digest = hash_file(path)
        if digest != file.sha256:
            raise _changed(path, f"sha256 {file.sha256}", digest)


def _changed(path: Path, expected: str, got: str) -> DataError:
    return DataError(
        f"`{path}` was changed: {LOCK_NAME} says {expected}, got {got}; delete it and fetch again"
    )
