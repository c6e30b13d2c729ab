"""What `run` would do now, without doing it: what fits together, what waits, what never fits."""

import math
from collections.abc import Sequence

import msgspec

from ttt_config import HarnessError
from ttt_harness.devices import GIB, UNBOUNDED, Device
from ttt_harness.enlist import enlist, is_left
from ttt_harness.estimate import MemoryEstimate, OnProgress, estimate_memory, untold
from ttt_harness.launch.launcher import Launcher
from ttt_harness.model import ACTIVE, RunRecord
from ttt_harness.plan import Plan
from ttt_harness.scheduler import Action, Scheduler, Start
from ttt_harness.store import Paths, Store


class DeviceForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A device and how full it would be."""

    name: str
    model: str
    capacity_bytes: int
    """That runs may take."""
    planned_bytes: int
    """That the runs to start and those that go on take."""


class RunForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a run."""

    name: str
    fate: str
    """`starts`, `waits` for memory, another run or its time, `goes on`, or why it would not."""
    device: str | None
    out: str
    checkpoint_step: int | None
    """From which it would go on."""
    need_bytes: int | None
    """None if it need not be known, or the trainer refuses the run."""
    basis: str | None
    """`given`, `measured` by an earlier run, or `expected` by the trainer."""
    parts: dict[str, int]
    """What the trainer expects, by what it is for."""
    after: tuple[str, ...]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a harness would do now."""

    devices: list[DeviceForecast]
    runs: list[RunForecast]
    total_bytes: int
    """Of all runs that are left, one beside the other."""
    notes: list[str]


def forecast(
    plan: Plan,
    paths: Paths,
    launcher: Launcher,
    trainer: Sequence[str],
    on_progress: OnProgress = untold,
) -> Forecast:
    """Say what a harness would do with a plan now; nothing is written."""
    store = Store(paths.database) if paths.database.is_file() else None
    try:
        known = {run.name: run for run in store.runs()} if store else {}
        reserved: dict[str, int] = {}
        for run in known.values():
            if run.status in ACTIVE:
                reserved[run.device] = reserved.get(run.device, 0) + run.reserved_bytes
        devices = launcher.devices(plan.settings, reserved)
        left = [run for run in plan.runs if is_left(known.get(run.name))]
        estimates = estimate_memory(left, trainer, store, devices[0].kind, on_progress)
    finally:
        if store is not None:
            store.close()
    enlisted = enlist(plan, known, estimates)
    return _forecast(plan, enlisted.runs, devices, estimates, [*plan.notes, *enlisted.notes])


def _forecast(
    plan: Plan,
    runs: Sequence[RunRecord],
    devices: Sequence[Device],
    estimates: dict[str, MemoryEstimate | HarnessError],
    notes: list[str],
) -> Forecast:
    scheduler = Scheduler(plan.settings.max_parallel)
    actions = {action.name: action for action in scheduler.decide(runs, devices, math.inf)}
    fates = [_fate(run, actions.get(run.name), estimates.get(run.name)) for run in runs]
    taken = dict.fromkeys((device.name for device in devices), 0)
    for run in runs:
        action = actions.get(run.name)
        if isinstance(action, Start):
            taken[action.device.name] += action.reserved_bytes
        elif run.status in ACTIVE and run.device in taken:
            taken[run.device] += run.reserved_bytes
    return Forecast(
        devices=[
            DeviceForecast(
                name=device.name,
                model=device.model,
                capacity_bytes=device.capacity_bytes,
                planned_bytes=taken[device.name],
            )
            for device in devices
        ],
        runs=fates,
        total_bytes=sum(fate.need_bytes or 0 for fate in fates),
        notes=notes,
    )


def _fate(
    run: RunRecord, action: Action | None, estimate: MemoryEstimate | HarnessError | None
) -> RunForecast:
    device = run.device if run.status in ACTIVE else None
    if isinstance(action, Start):
        fate, device = "starts", action.device.name
    elif action is not None:
        fate = action.reason
    elif run.status in ACTIVE:
        fate = "goes on"
    elif run.status == "pending":
        fate = "waits"
    else:
        fate = f"{run.status}: {run.reason}" if run.reason else run.status
    known = estimate if isinstance(estimate, MemoryEstimate) else None
    return RunForecast(
        name=run.name,
        fate=fate,
        device=device,
        out=run.out,
        checkpoint_step=run.saved,
        need_bytes=known.need_bytes if known else None,
        basis=known.basis if known else None,
        parts=dict(known.parts) if known else {},
        after=run.after,
    )


def describe_forecast(found: Forecast) -> str:
    """Write a forecast for people."""
    lines = [f"note: {note}" for note in found.notes]
    width = max((len(run.name) for run in found.runs), default=0)
    for run in found.runs:
        where = f" on {run.device}" if run.device else ""
        since = f", goes on from step {run.checkpoint_step:,}" if run.checkpoint_step else ""
        behind = f" after {', '.join(run.after)}" if run.after and run.fate == "waits" else ""
        lines.append(
            f"{run.name:{width}}  {_size(run.need_bytes):>10}  {run.fate}{where}{behind}{since}"
        )
    lines.append("")
    lines += [
        f"{device.name} ({device.model}): {_size(device.planned_bytes)} of "
        f"{_capacity(device.capacity_bytes)} taken"
        for device in found.devices
    ]
    lines.append(f"all that is left at once would take {_size(found.total_bytes)}")
    return "\n".join(lines)


def describe_parts(run: RunForecast) -> str:
    """Write what a run's memory is for."""
    shares = ", ".join(
        f"{name.replace('_', ' ')} {_size(size)}" for name, size in run.parts.items()
    )
    basis = {
        "given": "as `memory_gb` says",
        "measured": "as a run of this shape has held",
        "expected": "expected, with what past runs held beyond it",
    }
    told = basis.get(run.basis or "", "not known")
    return f"{run.name}  {_size(run.need_bytes)}, {told}" + (f": {shares}" if shares else "")


def _capacity(num_bytes: int) -> str:
    return "what there is" if num_bytes == UNBOUNDED else _size(num_bytes)


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "-"
    return f"{num_bytes / GIB:.2f} GiB" if num_bytes >= GIB // 8 else f"{num_bytes / 2**20:.1f} MiB"
