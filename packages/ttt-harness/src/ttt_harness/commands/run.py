"""`ttt-harness run`: start what a harness file asks for, or go on with it, to the end."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import msgspec
import typer

from ttt_config import LockHeldError, PreemptedError, RunFailedError
from ttt_harness.app import new_app
from ttt_harness.enlist import enlist, is_left
from ttt_harness.estimate import estimate_memory
from ttt_harness.forecast import describe_forecast, forecast
from ttt_harness.launch.choose import open_launcher
from ttt_harness.launch.launcher import Launcher
from ttt_harness.locks import SupervisorLock
from ttt_harness.options import Binary, Config, Debug, Json, Quiet
from ttt_harness.plan import Plan, load_plan
from ttt_harness.runpod import Pod
from ttt_harness.store import Paths, Store
from ttt_harness.supervisor import Outcome, Supervisor
from ttt_harness.tell import Teller, count_on_stderr, open_teller
from ttt_harness.trainer import find_trainer

app = new_app()


@app.command()
def run(
    config: Config = "harness.toml",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; start and write nothing.")
    ] = False,
    ttt_binary: Binary = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Start what a harness file asks for, or go on with it, and supervise it to the end.

    Runs that an earlier harness left are adopted if they live, and else go on from their newest
    checkpoint; what has completed stays so. Ctrl-C lets what runs save and end.
    """
    del debug
    plan, trainer = load_plan(config), find_trainer(ttt_binary)
    launcher, paths = open_launcher(plan.settings), Paths(plan.settings.state_file)
    if dry_run:
        found = forecast(plan, paths, launcher, trainer, count_on_stderr(quiet=quiet))
        typer.echo(msgspec.json.encode(found).decode() if json else describe_forecast(found))
        return
    pod = Pod() if plan.settings.runpod.enabled else None
    with _supervising(paths) as store, open_teller(json=json, quiet=quiet) as tell:
        _enlist(plan, store, launcher, trainer, tell)
        supervisor = Supervisor(paths, store, launcher, plan.settings, trainer, tell.happening)
        with _stopping_on_signals(supervisor):
            outcome = supervisor.run(lambda: tell.turn(supervisor.runs.values()))
    _conclude(outcome, supervisor, pod, tell)


def _enlist(
    plan: Plan, store: Store, launcher: Launcher, trainer: Sequence[str], tell: Teller
) -> None:
    """Bring the plan together with the state, with an estimate for each run."""
    kind = launcher.devices(plan.settings, {})[0].kind
    known = {each.name: each for each in store.runs()}
    left = [each for each in plan.runs if is_left(known.get(each.name))]
    estimates = estimate_memory(left, trainer, store, kind, tell.estimating)
    enlisted = enlist(plan, known, estimates)
    store.save(*enlisted.runs)
    store.record_settings(msgspec.to_builtins(plan.settings))
    for note in (*plan.notes, *enlisted.notes):
        tell.note(note)


@contextmanager
def _supervising(paths: Paths) -> Iterator[Store]:
    """The state, with nobody else working on it.

    Raises:
        LockHeldError: another harness does.
    """
    paths.database.parent.mkdir(parents=True, exist_ok=True)
    lock = SupervisorLock(paths.database)
    if not lock.acquire():
        holder = lock.holder()
        who = f"process {holder.pid}" if holder else "another process"
        raise LockHeldError(
            f"{who} works on {paths.database} already; `ttt-harness watch` shows it, another "
            "`state_file` is another state"
        )
    try:
        with Store(paths.database, create=True) as store:
            yield store
    finally:
        lock.release()


@contextmanager
def _stopping_on_signals(supervisor: Supervisor) -> Iterator[None]:
    """The first signal stops in order; after the second the runs are left to the next harness."""

    def stop(number: int, _: FrameType | None) -> None:
        supervisor.stop(f"stopped by {signal.Signals(number).name}")
        for each in earlier:
            signal.signal(each, leave)

    def leave(number: int, _: FrameType | None) -> None:
        raise PreemptedError(
            f"left by {signal.Signals(number).name}; what runs goes on, and `ttt-harness run` "
            "adopts it"
        )

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _conclude(outcome: Outcome, supervisor: Supervisor, pod: Pod | None, tell: Teller) -> None:
    """Say what it came to.

    Raises:
        RunFailedError: a run failed.
        PreemptedError: runs are left to do.
    """
    tell.outcome(outcome)
    failed = [each for each in supervisor.runs.values() if each.status == "failed" and each.planned]
    if failed:
        told = "; ".join(f"`{each.name}`: {each.reason}" for each in failed)
        raise RunFailedError(f"{told}; `ttt-harness logs RUN` says more, `reset RUN` tries again")
    if outcome.stopped is not None:
        raise PreemptedError(f"{outcome.stopped}; `ttt-harness run` goes on")
    left = [name for name in ("pending", "stopped") if outcome.counts.get(name)]
    if left:
        raise PreemptedError("runs were stopped; `ttt-harness reset RUN` brings them back")
    if pod is not None:
        pod.stop()
