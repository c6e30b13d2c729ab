"""A plan brought together with what is known from before."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ttt_config import HarnessError, dump
from ttt_harness.estimate import MemoryEstimate, shape_of
from ttt_harness.model import RunRecord
from ttt_harness.plan import Plan


class Enlisted(NamedTuple):
    """The runs of a state under a plan."""

    runs: list[RunRecord]
    notes: list[str]
    """What a user should know."""


def enlist(
    plan: Plan,
    known: Mapping[str, RunRecord],
    estimates: Mapping[str, MemoryEstimate | HarnessError],
) -> Enlisted:
    """Make the records that the supervisor works on.

    What has completed stays completed, also if its configuration has changed since; what is not in
    the plan any more is kept and not begun; what was skipped for another's sake is looked at anew.
    """
    notes: list[str] = []
    runs = [
        run._replace(planned=False)
        for name, run in known.items()
        if name not in {each.name for each in plan.runs}
    ]
    for position, asked in enumerate(plan.runs):
        old = known.get(asked.name, RunRecord(asked.name))
        config, out = dump(asked.config), str(Path(asked.config.out).absolute())
        if old.status == "completed" and old.config != config:
            notes.append(
                f"`{asked.name}` has completed with another configuration and stays as it is; "
                f"to do it again: ttt-harness reset --fresh {asked.name}"
            )
            config = old.config
        if old.attempt and old.out != out:
            notes.append(f"`{asked.name}` goes on in {old.out}, where it was begun")
            out = old.out
        run = old._replace(
            position=position,
            planned=True,
            priority=asked.entry.priority,
            after=asked.entry.after,
            out=out,
            config=config,
            shape=shape_of(asked.config),
        )
        if run.status == "skipped":
            run = run._replace(status="pending", reason="")
        runs.append(_with_need(run, estimates[asked.name]) if is_left(old) else run)
    return Enlisted(runs, notes)


def is_left(run: RunRecord | None) -> bool:
    """Whether a run may yet be begun, so that its memory matters; None is a new one."""
    return run is None or run.status in {"pending", "skipped"}


def _with_need(run: RunRecord, estimate: MemoryEstimate | HarnessError) -> RunRecord:
    if isinstance(estimate, HarnessError):
        return run._replace(status="failed", reason=f"configuration: {estimate}")
    return run._replace(estimate_bytes=estimate.expected_bytes, need_bytes=estimate.need_bytes)
