"""The state as the JSON file of ttt-rs, for the scripts that read it; and that file as a state."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from ttt_harness.model import RunRecord

_VERSION = 1
_STATUS = {"starting": "running", "stopped": "pending"}
"""Words that ttt-rs does not have."""


def write_export(path: Path, runs: Iterable[RunRecord], pids: dict[str, int | None]) -> None:
    """Write the file anew; readers see the old or the new, never a part.

    Args:
        path: of the file.
        runs: all of them.
        pids: of those that are active, where they are processes of this machine.
    """
    state = {"runs": {run.name: _exported(run, pids.get(run.name)) for run in runs}}
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(json.dumps({**state, "version": _VERSION}, indent=1))
    unfinished.replace(path)


def _exported(run: RunRecord, pid: int | None) -> dict[str, object]:
    return {
        "status": _STATUS.get(run.status, run.status),
        "artifact_dir": run.out,
        "checkpoint_epoch": None,  # there are steps instead
        "checkpoint_step": run.saved,
        "pid": pid,
        "retry_count": run.retries,
        "errors": [run.reason] if run.reason else [],
        "started_at": _moment(run.started),
        "finished_at": _moment(run.finished),
    }


def read_export(path: Path) -> list[RunRecord]:
    """Read such a file, of ttt-rs or ours, to show it.

    Raises:
        ValueError: it is none.
    """
    try:
        runs = json.loads(path.read_text())["runs"]
        return [
            RunRecord(
                name=name,
                position=number,
                out=run["artifact_dir"],
                status=run["status"],
                retries=run["retry_count"],
                reason="; ".join(run["errors"][-1:]),
                started=_seconds(run["started_at"]),
                finished=_seconds(run["finished_at"]),
                saved=run.get("checkpoint_step"),
            )
            for number, (name, run) in enumerate(runs.items())
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no harness state: {error!r}") from error


_FORMAT = "%Y-%m-%d %H:%M:%S"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime(_FORMAT, time.localtime(seconds))


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else time.mktime(time.strptime(moment, _FORMAT))
