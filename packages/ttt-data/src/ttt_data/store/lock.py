"""One writer per folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ttt_config.errors import DataError
from ttt_data.store.durable import write_error

LOCK_NAME = "writer.lock"


class FolderLock:
    """Held from its construction to `release`, or to the death of the process.

    The kernel frees the lock of a process that dies, so a lock file left behind blocks nobody.

    Args:
        folder: must exist.

    Raises:
        DataError: another writer holds the folder; its process id is in the message.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor = self._acquire()
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            self.release()
            raise write_error(self._path, error) from error

    def release(self) -> None:
        """Let others write."""
        with suppress(OSError):
            self._path.unlink()  # before it is unlocked, so that nobody else's file is removed
        os.close(self._descriptor)

    def _acquire(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise write_error(self._path, error) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace") or "unknown"
                os.close(descriptor)
                if not isinstance(error, BlockingIOError):
                    raise write_error(self._path, error) from error
                raise DataError(
                    f"`{self._path.parent}` is being written by process {holder}; "
                    "wait for it or stop it"
                ) from None
            if self._is_in_place(descriptor):
                return descriptor
            # The holder before us removed the file between our open and our lock.
            os.close(descriptor)

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False
