"""Locks that the kernel frees when their holder dies.

A lock belongs to an open file. A process that inherits the file shares the lock, so the lock of a
run is held as long as anything of that run lives, whoever started it.
"""

import fcntl
import json
import os
from pathlib import Path

from ttt_harness.process import Identity, identify


class FileLock:
    """Held from `acquire` to `release`, or to the death of all who inherited it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def write(self, content: str) -> None:
        """Say in the file who holds it."""
        if self.descriptor is None:
            raise RuntimeError("the lock is not held")
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content.encode(), 0)

    def read(self) -> str:
        """What a holder, past or present, wrote; empty if none did."""
        try:
            return self.path.read_text(errors="replace")
        except OSError:
            return ""

    def release(self) -> None:
        """Give it back; those who inherited it still hold it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class SupervisorLock:
    """One supervisor for each state."""

    def __init__(self, database: Path) -> None:
        self._lock = FileLock(database.with_name(f"{database.name}.lock"))

    def acquire(self) -> bool:
        """Become the supervisor; False if there is one."""
        if not self._lock.acquire():
            return False
        self._lock.write(json.dumps(identify(os.getpid())))
        return True

    def release(self) -> None:
        """Let another supervise."""
        self._lock.write("")
        self._lock.release()

    def holder(self) -> Identity | None:
        """The supervisor, if one lives; asked without touching the lock."""
        try:
            who = Identity(*json.loads(self._lock.read()))
        except (ValueError, TypeError):
            return None
        return who if who.is_alive() else None
