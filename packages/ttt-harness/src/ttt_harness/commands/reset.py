"""`ttt-harness reset`: bring back runs that failed, were stopped or are to be done anew."""

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ttt_harness.app import new_app
from ttt_harness.claim import set_aside
from ttt_harness.locks import SupervisorLock
from ttt_harness.model import ACTIVE, RunRecord
from ttt_harness.options import Debug, Json, State
from ttt_harness.reset import renewed
from ttt_harness.store import Paths, StateError, Store
from ttt_harness.views import DEFAULT_STATE, names_or_all

app = new_app()


@app.command()
def reset(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Names.")] = None,
    run_id: Annotated[
        list[str] | None, typer.Option("--run-id", metavar="RUN", help="The same; can be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that has not completed.")] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Begin anew; what there is is renamed, to NAME.old1 or so."),
    ] = False,
    state: State = DEFAULT_STATE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make runs wait to be started, as if never tried.

    They go on from their newest checkpoint, or with --fresh begin anew. Runs that were skipped for
    their sake come back with them.
    """
    del debug
    with Store(Paths(state).database) as store:
        known = {run.name: run for run in store.runs()}
        names = names_or_all([*known.values()], [*(runs or ()), *(run_id or ())], every=every)
        names = [name for name in names if not every or known[name].status != "completed"]
        _check(known, names, fresh=fresh, every=every)
        outs = [Path(known[name].out) for name in names if fresh]
        moved = [aside for out in outs if (aside := set_aside(out)) is not None]
        _renew(store, known, names)
    if json:
        typer.echo(json_module.dumps({"reset": names, "set_aside": [str(path) for path in moved]}))
        return
    for name in names:
        typer.echo(f"Reset: {name}")
    for aside in moved:
        typer.echo(f"what there was is now {aside}")


def _check(
    known: Mapping[str, RunRecord], names: Sequence[str], *, fresh: bool, every: bool
) -> None:
    """Make sure that the runs can be brought back.

    Raises:
        StateError: one is active, or has completed and is not to be done anew.
    """
    for name in names:
        status = known[name].status
        if status in ACTIVE:
            raise StateError(f"run `{name}` is {status}; `ttt-harness stop {name}` comes first")
        if status == "completed" and not fresh and not every:
            raise StateError(f"run `{name}` has completed; --fresh does it anew")


def _renew(store: Store, known: Mapping[str, RunRecord], names: Sequence[str]) -> None:
    """Write it down, or have it written down by the harness that works on this state."""
    lock = SupervisorLock(store.path)
    if not lock.acquire():
        store.ask("reset", names)
        return
    try:
        store.save(*renewed(known, names))
    finally:
        lock.release()
