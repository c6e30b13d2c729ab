"""Files that are whole or absent: written under another name, made durable, then renamed."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ttt_config.errors import DataError

TMP_SUFFIX = ".tmp"

_BUFFER_BYTES = 1 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class AtomicFile:
    """A new file that appears under its name, complete and on the disk, when it is committed.

    Until then its bytes are in `<name>.tmp`. As a context manager it commits if the block ends
    well and discards otherwise. A write that fails discards the file.

    Args:
        path: final place, in a folder that is made if need be; a file that is there stays
            readable until it is replaced.

    Raises:
        DataError: the file cannot be opened, or, from every method that writes, the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tmp = path.with_name(path.name + TMP_SUFFIX)
        self._num_bytes = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._tmp.open("wb", buffering=_BUFFER_BYTES)
        except OSError as error:
            raise write_error(path, error) from error

    def write(self, data: bytes) -> None:
        """Append to the file."""
        self._num_bytes += len(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error

    def commit(self, head: bytes = b"") -> None:
        """Make the file durable and give it its name.

        Args:
            head: replaces as many bytes at the start, which could not be known before the rest.
        """
        try:
            self._file.seek(0)
            self._file.write(head)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._tmp.replace(self.path)
            fsync_folder(self.path.parent)
        except OSError as error:
            raise self._failure(error) from error

    def discard(self) -> None:
        """Remove what was written; without effect on a committed file."""
        with suppress(OSError):  # closing writes out what is left, which may be what failed before
            self._file.close()
        with suppress(OSError):
            self._tmp.unlink(missing_ok=True)

    def __enter__(self) -> "AtomicFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _failure(self, error: OSError) -> DataError:
        self.discard()  # first, so that the room it took counts as free
        return write_error(self.path, error, self._num_bytes)


def write_error(path: Path, error: OSError, needed_bytes: int = 0) -> DataError:
    """Say in one line why a file could not be written."""
    reason = error.strerror or str(error)
    if error.errno not in _NO_ROOM:
        return DataError(f"cannot write `{path}`: {reason}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free_bytes = shutil.disk_usage(folder).free
    return DataError(
        f"no room for `{path}`: {reason}; it needs {needed_bytes:,} bytes or more and "
        f"{free_bytes:,} are free; make room, then run the same again"
    )


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
