"""Which run starts next, and where: a function of what is known, without a process or a clock.

First-fit in the order of priority, then of the file: a run that fits nowhere at the moment does
not hold up those behind it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ttt_harness.devices import GIB, Device
from ttt_harness.model import ACTIVE, RunRecord

_AFTER_MEMORY_FAILURE = 1.5
_SETTLED = ("completed", "failed", "skipped")


class Start(NamedTuple):
    """Begin an attempt at a run."""

    name: str
    device: Device
    reserved_bytes: int


class GiveUp(NamedTuple):
    """A run cannot be done."""

    name: str
    reason: str
    skipped: bool
    """Because of another run, not of itself."""


Action = Start | GiveUp


class Scheduler(NamedTuple):
    """Decides which run starts next, and where."""

    max_parallel: int | None = None
    """Most runs at once; None: as many as fit."""

    def decide(
        self, runs: Iterable[RunRecord], devices: Sequence[Device], now: float
    ) -> Iterator[Action]:
        """Say what to do now.

        Args:
            runs: all that are known.
            devices: what they can be placed on.
            now: seconds since the epoch.
        """
        known = {run.name: run for run in runs}
        active = [run for run in known.values() if run.status in ACTIVE]
        free = {device.name: device.capacity_bytes for device in devices}
        for run in active:
            if run.device in free:
                free[run.device] -= run.reserved_bytes
        slots = len(known) if self.max_parallel is None else self.max_parallel - len(active)
        largest = max((device.limit_bytes for device in devices), default=0)
        lost = {run.name for run in known.values() if run.status in {"failed", "skipped"}}
        for run in _in_order(known.values()):
            reason = _hopeless(run, known, lost, largest)
            if reason is not None:
                lost.add(run.name)
                yield reason
            elif slots > 0 and run.not_before <= now and _is_free(run, known):
                needed = needed_bytes(run, largest)
                device = next((each for each in devices if needed <= free[each.name]), None)
                if device is not None:
                    slots -= 1
                    free[device.name] -= needed
                    yield Start(run.name, device, needed)


def needed_bytes(run: RunRecord, largest: int) -> int:
    """What is reserved for a run: more after each attempt that ran out, at most a whole device."""
    return min(int(run.need_bytes * _AFTER_MEMORY_FAILURE**run.memory_failures), largest)


def ready(runs: Mapping[str, RunRecord], now: float | None = None) -> bool:
    """Whether any run waits for nothing but memory and, without `now`, time.

    A run behind one that was given up counts, too: it is to be given up.
    """
    return any(
        _waits(run)
        and (now is None or run.not_before <= now)
        and all(name not in runs or runs[name].status in _SETTLED for name in run.after)
        for run in runs.values()
    )


def next_moment(runs: Iterable[RunRecord]) -> float | None:
    """When the first of the runs that wait for a time may start; seconds since the epoch."""
    return min((run.not_before for run in runs if _waits(run) and run.not_before), default=None)


def _in_order(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Those that wait, by priority and place; each behind what it comes after, if that waits too.

    So a run that is given up takes those behind it along in one pass.
    """
    waiting = {run.name: run for run in runs if _waits(run)}
    ordered: dict[str, RunRecord] = {}

    def place(run: RunRecord) -> None:
        stack = [run]
        while stack:
            needed = [
                waiting[name]
                for name in stack[-1].after
                if name in waiting and name not in ordered and waiting[name] not in stack
            ]
            if needed:
                stack.append(needed[0])
            else:
                last = stack.pop()
                ordered[last.name] = last

    for run in sorted(waiting.values(), key=lambda run: (-run.priority, run.position)):
        if run.name not in ordered:
            place(run)
    return list(ordered.values())


def _waits(run: RunRecord) -> bool:
    return run.planned and run.status == "pending"


def _is_free(run: RunRecord, known: Mapping[str, RunRecord]) -> bool:
    return all(known[name].status == "completed" for name in run.after)


def _hopeless(
    run: RunRecord, known: Mapping[str, RunRecord], lost: Collection[str], largest: int
) -> GiveUp | None:
    blocker = next((name for name in run.after if name in lost or name not in known), None)
    if blocker is not None:
        return GiveUp(run.name, f"`{blocker}`, which it comes after, did not complete", True)
    if run.need_bytes > largest:
        return GiveUp(run.name, _too_large(run, largest), False)
    return None


def _too_large(run: RunRecord, largest: int) -> str:
    return (
        f"it takes {run.need_bytes / GIB:.2f} GiB, the largest device has {largest / GIB:.2f}; "
        "`ttt-harness estimate` says what would make it fit"
    )
