"""Why an attempt ended, and what is done about it."""

import json
import signal
from pathlib import Path
from typing import Literal, NamedTuple

from ttt_harness.launch.launcher import Ended
from ttt_harness.model import Cause
from ttt_harness.progress import Progress

_LAST_LINES = 20
_TAIL_BYTES = 2**16
_LONGEST_BACKOFF_S = 3600.0

_BY_EXIT_CODE: dict[int, Cause] = {  # ttt_config.errors, and 2 for a misused command line
    2: "configuration",
    3: "configuration",
    4: "data",
    5: "checkpoint",
    6: "kernel",
    8: "out of memory",
    75: "signal",
}
_OUT_OF_MEMORY = (
    "OutOfMemoryError",
    "out of memory",
    "MemoryError",
    "Cannot allocate memory",
    "can't allocate memory",
)

_HOPELESS: tuple[Cause, ...] = ("configuration", "kernel", "not finite")
"""The next attempt would end in the same way."""
_INNOCENT: tuple[Cause, ...] = ("signal",)
"""Nothing is wrong with the run: it goes on at once."""


class Failure(NamedTuple):
    """An attempt that did not complete."""

    cause: Cause
    detail: str
    """For people."""


class _Report(NamedTuple):
    """What `ttt --json` says on stderr of an error."""

    type: str
    exit_code: int
    issues: list[str]


def explain(ended: Ended, stderr: str, progress: Progress) -> Failure:
    """Say why an attempt ended.

    Args:
        ended: that it did.
        stderr: the end of what it wrote there.
        progress: what it said of itself.
    """
    report = _find_report(stderr)
    last = "\n".join(stderr.strip().splitlines()[-_LAST_LINES:])
    code = ended.code if ended.code is not None or report is None else report.exit_code
    if ended.out_of_memory:
        return Failure("out of memory", "the system killed it for want of memory")
    if code is None and progress.ended == "stop":
        code = 75
    told = "; ".join(report.issues) if report is not None else last
    if report is not None and report.type == "NonFiniteError":
        return Failure("not finite", told)
    if code in _BY_EXIT_CODE:
        return Failure(_BY_EXIT_CODE[code], told or f"exit code {code}")
    if any(word in stderr for word in _OUT_OF_MEMORY):
        return Failure("out of memory", told)
    if code is not None and code < 0:
        return Failure("signal", f"killed by {_signal_name(-code)}")
    if code is None and not _has_traceback(stderr):
        return Failure("signal", "it ended without a word: killed, most likely")
    return Failure("crash", told or f"exit code {code}")


def backoff_s(cause: Cause, retries: int, first_s: float) -> float:
    """How long to wait before the next attempt.

    Args:
        cause: of the last attempt's end.
        retries: how many there were already.
        first_s: before the first; doubles with each.
    """
    if cause in _INNOCENT:
        return 0.0
    return min(first_s * 2 ** min(retries, 30), _LONGEST_BACKOFF_S)


def verdict(
    cause: Cause, retries: int, max_retries: int, policy: Literal["retry", "skip", "abort"]
) -> Literal["retry", "failed", "skipped"]:
    """What becomes of a run whose attempt has failed."""
    if policy == "abort":
        return "failed"
    if cause not in _HOPELESS and retries < max_retries:
        return "retry"
    return "skipped" if policy == "skip" else "failed"


def read_end(path: Path, start: int = 0) -> str:
    """The end of a log, from a place on."""
    try:
        with path.open("rb") as file:
            file.seek(max(start, file.seek(0, 2) - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _find_report(stderr: str) -> _Report | None:
    for line in reversed(stderr.splitlines()):
        if line.startswith('{"error"'):
            try:
                error = json.loads(line)["error"]
                return _Report(error["type"], int(error["exit_code"]), list(error["issues"]))
            except (ValueError, KeyError, TypeError):
                return None
    return None


def _has_traceback(stderr: str) -> bool:
    return "Traceback (most recent call last)" in stderr


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
