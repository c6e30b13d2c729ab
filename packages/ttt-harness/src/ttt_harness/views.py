"""How the runs of a state stand, for people and programs.

Only the standard library is imported, so that `ttt-harness status` answers at once.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ttt_harness.export import read_export
from ttt_harness.launch.names import STDOUT_NAME
from ttt_harness.locks import SupervisorLock
from ttt_harness.model import ACTIVE, RunRecord
from ttt_harness.progress import Progress, read_tail
from ttt_harness.store import Paths, StateError, Store

DEFAULT_STATE = "harness_state.json"
GIB = 2**30
COLUMNS = (
    *("run", "status", "step", "loss", "val loss", "tokens/s", "memory", "ETA", "device", "note"),
)
_UNKNOWN = "-"
_LONGEST_NOTE = 60


class RunView(NamedTuple):
    """How one run stands."""

    run: RunRecord
    progress: Progress
    """Of its last attempt."""


class StateView(NamedTuple):
    """How a state stands."""

    supervisor: int | None
    """Pid of the harness that works on it, if one does."""
    runs: tuple[RunView, ...]


def look(state: str) -> StateView:
    """Read a state without disturbing who works on it.

    Args:
        state: path of its .json or .db; the JSON file alone, as ttt-rs writes it, will do.

    Raises:
        StateError: there is none.
    """
    paths = Paths(state)
    if not paths.database.is_file() and paths.export.is_file():
        try:
            runs = read_export(paths.export)
        except ValueError as error:
            raise StateError(str(error)) from error
        return StateView(None, tuple(RunView(run, Progress()) for run in runs))
    with Store(paths.database) as store:
        runs = store.runs()
    holder = SupervisorLock(paths.database).holder()
    return StateView(holder.pid if holder else None, tuple(view_of(run) for run in runs))


def view_of(run: RunRecord) -> RunView:
    """A run with what its log says."""
    if not run.attempt:
        return RunView(run, Progress())
    return RunView(run, read_tail(Path(run.out) / STDOUT_NAME, run.log_start))


def summary(view: StateView) -> str:
    """One line on all runs."""
    counts = Counter(each.run.status for each in view.runs if each.run.planned)
    told = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no runs"
    if view.supervisor is not None:
        return f"{told}; supervised by process {view.supervisor}"
    active = any(each.run.status in ACTIVE for each in view.runs)
    left = active or counts["pending"]
    hint = "; nobody supervises: `ttt-harness run` goes on" if left else ""
    return f"{told}{hint}"


def cells(view: RunView) -> tuple[str, ...]:
    """A run as a row of `COLUMNS`."""
    run, progress = view
    memory = progress.peak_memory_bytes
    left_s = progress.seconds_left if run.status == "running" else None
    return (
        run.name,
        run.status,
        _steps(view),
        _UNKNOWN if progress.loss is None else f"{progress.loss:.4f}",
        _UNKNOWN if progress.val_loss is None else f"{progress.val_loss:.4f}",
        _UNKNOWN if progress.tokens_per_s is None else f"{progress.tokens_per_s:,.0f}",
        _UNKNOWN if memory is None else f"{memory / GIB:.2f} GiB",
        _UNKNOWN if left_s is None else duration(left_s),
        run.device or _UNKNOWN,
        _note(run),
    )


def table(view: StateView) -> str:
    """All runs as text."""
    rows = [COLUMNS, *(cells(each) for each in view.runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", summary(view)])


def as_json(view: StateView) -> str:
    """All that is known, as one JSON object."""
    runs = [
        {
            "name": run.name,
            "status": run.status,
            "out": run.out,
            "planned": run.planned,
            "priority": run.priority,
            "after": run.after,
            "attempts": run.attempt,
            "retries": run.retries,
            "reason": run.reason,
            "device": run.device or None,
            "need_bytes": run.need_bytes,
            "not_before": run.not_before or None,
            "started": run.started,
            "finished": run.finished,
            "step": _step(each),
            "steps": progress.steps or run.steps,
            "checkpoint_step": progress.saved or run.saved,
            "loss": progress.loss,
            "val_loss": progress.val_loss,
            "tokens_per_s": progress.tokens_per_s,
            "peak_memory_bytes": progress.peak_memory_bytes,
            "eta_s": progress.seconds_left if run.status == "running" else None,
        }
        for each in view.runs
        for run, progress in [each]
    ]
    return json.dumps({"supervisor": view.supervisor, "runs": runs})


def duration(seconds: float) -> str:
    """A time span the short way: `42s`, `3m07s`, `2h05m`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h{minutes_left:02}m" if hours else f"{minutes}m{rest:02}s"


def _step(view: RunView) -> int | None:
    return view.run.step if view.progress.step is None else view.progress.step


def _steps(view: RunView) -> str:
    step, steps = _step(view), view.progress.steps or view.run.steps
    if step is None and steps is None:
        return _UNKNOWN
    return f"{step or 0:,}/{steps:,}" if steps else f"{step:,}"


def _note(run: RunRecord) -> str:
    parts = [f"retry {run.retries}"] if run.retries else []
    wait_s = run.not_before - time.time()
    if run.status == "pending" and wait_s > 0:
        parts.append(f"in {duration(wait_s)}")
    elif run.status == "pending" and run.after and not run.attempt:
        parts.append(f"after {', '.join(run.after)}")
    if run.reason and run.status != "completed":
        parts.append(run.reason)
    if not run.planned:
        parts.append("not in the file any more")
    text = "; ".join(parts)
    return text if len(text) <= _LONGEST_NOTE else f"{text[: _LONGEST_NOTE - 3]}..."


def names_or_all(runs: Sequence[RunRecord], names: Sequence[str], *, every: bool) -> list[str]:
    """The runs that a command line names.

    Raises:
        StateError: it names none, or one that does not exist.
    """
    known = [run.name for run in runs]
    if every:
        return known
    if not names:
        raise StateError("name a run, or --all")
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
            raise StateError(f"no run `{name}`; {hint}")
    return list(dict.fromkeys(names))
