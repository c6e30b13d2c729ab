"""Processes that outlive their parent: who they are, whether they live, ending them whole."""

import os
import signal
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil

TOKEN_VARIABLE = "TTT_HARNESS_TOKEN"  # noqa: S105  (a name, no secret)
"""Environment variable that marks every process of one attempt at a run."""


class Identity(NamedTuple):
    """A process for good: a pid comes back, with this start time on this boot it does not."""

    pid: int
    started: str
    """By the system's clock of processes."""
    boot: str
    """Of the machine's last start."""

    def is_alive(self) -> bool:
        """Whether it runs; one that has ended and was not waited for does not."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """Who has a pid now; None if nobody does, or only what is left of a process that ended."""
    if not sys.platform.startswith("linux"):
        return _identify_by_psutil(pid)
    try:
        # Behind the last `)`, for a program's name may have some: state, then 18 fields, then time.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else Identity(pid, fields[19], _boot_id())


def find_holder(path: Path) -> Identity | None:
    """A process that has a file open, this one aside; the leader of its group, if it is there."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return None
    found = [pid for pid in _pids() if pid != os.getpid() and _has_open(pid, wanted)]
    leaders = [pid for pid in found if _group_of(pid) == pid]
    return next((who for pid in leaders or found if (who := identify(pid)) is not None), None)


def signal_group(leader: Identity, number: signal.Signals) -> bool:
    """Send a signal to a process and all it started; False if the process is gone."""
    if not leader.is_alive():
        return False
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
    return True


def kill_stragglers(leader: Identity, token: str) -> None:
    """Kill what a process that has ended left in its group.

    The group's number may by now be another's, so only bearers of the token are killed.
    """
    try:
        os.killpg(leader.pid, 0)
    except (ProcessLookupError, PermissionError):
        return
    import psutil

    for process in psutil.process_iter():
        if _group_of(process.pid) == leader.pid and _token_of(process) == token:
            with suppress(psutil.Error):
                process.kill()


def _pids() -> list[int]:
    import psutil  # not above: `status` can do without

    return psutil.pids()


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    """Whether a process has a file open; not of those that belong to others."""
    files = Path(f"/proc/{pid}/fd")
    if not files.parent.parent.is_dir():  # no Linux
        return _has_open_by_psutil(pid, wanted)
    try:
        return any(_is_file(file, wanted) for file in files.iterdir())
    except OSError:
        return False


def _has_open_by_psutil(pid: int, wanted: os.stat_result) -> bool:
    import psutil

    try:
        files = psutil.Process(pid).open_files()
    except psutil.Error:
        return False
    return any(_is_file(Path(file.path), wanted) for file in files)


def _is_file(path: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), wanted)
    except OSError:
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _token_of(process: "psutil.Process") -> str | None:
    import psutil

    try:
        return process.environ().get(TOKEN_VARIABLE)
    except (psutil.Error, OSError):
        return None


def _identify_by_psutil(pid: int) -> Identity | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Identity(pid, f"{process.create_time():.3f}", _boot_id())
    except psutil.Error:
        return None


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))
