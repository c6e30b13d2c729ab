"""The launcher `local`: attempts are processes of this machine, each in a group of its own.

They outlive the harness: their output goes to files, and they hold the lock of their run's
directory, which they inherit, for as long as one of them lives. So whether an attempt that was
decided on was also begun can always be told.
"""

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ttt_config import HarnessConfig
from ttt_harness.devices import Device, find_devices
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.names import STDERR_NAME, STDOUT_NAME
from ttt_harness.locks import FileLock
from ttt_harness.process import (
    TOKEN_VARIABLE,
    Identity,
    find_holder,
    identify,
    kill_stragglers,
    signal_group,
)

_LOCK_NAME = "harness.lock"
_POLL_S = 0.1
"""Where the system cannot wait for processes that are not our children."""


def spawn(order: Order) -> int:
    """Start the process of an order, in a session of its own; its pid."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        order.command[0],
        order.command,
        {**os.environ, **order.environment},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(order.out / STDOUT_NAME), append, 0o644),
            (os.POSIX_SPAWN_OPEN, 2, str(order.out / STDERR_NAME), append, 0o644),
        ],
        setsid=True,
    )


class LocalLauncher:
    """Starts attempts on this machine.

    Args:
        spawn: starts a process and gives its pid.
    """

    def __init__(self, spawn: Callable[[Order], int] = spawn) -> None:
        self._spawn = spawn
        self._children: dict[int, _Child] = {}
        self._watched: dict[int, int] = {}
        """Descriptors of processes by pid."""

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """The GPUs of this machine, or its CPU."""
        return find_devices(settings, reserved)

    def start(self, order: Order) -> str:
        """Start the process of an attempt.

        Raises:
            OSError: it cannot be started, or another attempt at the run goes on.
        """
        lock = FileLock(order.out / _LOCK_NAME)
        if not lock.acquire() or lock.descriptor is None:
            raise BlockingIOError(f"a process still works in {order.out}")
        killed = _out_of_memory_kills()
        try:
            os.set_inheritable(lock.descriptor, True)
            environment = {**order.environment, TOKEN_VARIABLE: order.token}
            pid = self._spawn(order._replace(environment=environment))
        finally:
            lock.release()
        self._children[pid] = _Child(killed)
        who = identify(pid) or Identity(pid, "", "")  # "": it has ended already
        return json.dumps(who)

    def find(self, token: str, out: Path) -> str | None:
        """The process of an attempt, if one lives: whoever has the lock of the run."""
        del token
        lock = FileLock(out / _LOCK_NAME)
        while not lock.acquire():
            if (handle := self.holder(out)) is not None:
                return handle
            time.sleep(_POLL_S)  # it is just ending
        lock.release()
        return None

    def holder(self, out: Path) -> str | None:
        """The process of this machine that has the lock of a run, as things are at the moment."""
        who = find_holder(out / _LOCK_NAME)
        return None if who is None else json.dumps(who)

    def has_begun(self, handle: str) -> bool:
        """Always: there is no queue."""
        del handle
        return True

    def poll(self, handle: str, token: str) -> Ended | None:
        """How the process ended; what it left in its group is killed."""
        who = Identity(*json.loads(handle))
        child = self._children.get(who.pid)
        if child is None:
            if who.is_alive():
                return None
            kill_stragglers(who, token)
            self._forget(who.pid)
            return Ended(None)
        # The child is not reaped yet, so its pid, which is its group's number, is nobody else's.
        if os.waitid(os.P_PID, who.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(who.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(who.pid, 0)[1])
        self._forget(who.pid)
        starved = code == -signal.SIGKILL and _out_of_memory_kills() > child.out_of_memory_kills
        return Ended(code, starved)

    def signal(self, handle: str, number: signal.Signals) -> None:
        """Signal the group of the process."""
        signal_group(Identity(*json.loads(handle)), number)

    def wait(self, handles: Sequence[str], timeout_s: float) -> None:
        """Sleep until one of the processes has ended or the time is over."""
        if not hasattr(os, "pidfd_open"):
            time.sleep(min(timeout_s, _POLL_S))
            return
        ready = select.poll()
        for handle in handles:
            pid = Identity(*json.loads(handle)).pid
            if pid not in self._watched:
                try:
                    self._watched[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    return
            ready.register(self._watched[pid], select.POLLIN)
        ready.poll(timeout_s * 1000)

    def _forget(self, pid: int) -> None:
        self._children.pop(pid, None)
        if (descriptor := self._watched.pop(pid, None)) is not None:
            os.close(descriptor)


class _Child:
    """A process that this one must wait for; until then its pid is not given to another."""

    def __init__(self, out_of_memory_kills: int) -> None:
        self.out_of_memory_kills = out_of_memory_kills
        """Of the system, when it started."""


def _out_of_memory_kills() -> int:
    """How many processes the system has killed for want of memory; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
