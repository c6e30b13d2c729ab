"""`ttt-harness stop`: let runs save and end."""

import json as json_module
from typing import Annotated

import typer

from ttt_harness.app import new_app
from ttt_harness.locks import SupervisorLock
from ttt_harness.model import FINAL
from ttt_harness.options import Debug, Json, State
from ttt_harness.store import Paths, Store
from ttt_harness.views import DEFAULT_STATE, names_or_all

app = new_app()


@app.command()
def stop(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Names.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run that has not ended.")] = False,
    state: State = DEFAULT_STATE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let runs save and end; they stay stopped until `ttt-harness reset` brings them back.

    A run that is waiting is not started. One that does not end in `harness.stop_grace_s` is killed.
    """
    del debug
    with Store(Paths(state).database) as store:
        known = store.runs()
        names = names_or_all(known, runs or (), every=every)
        left = [run.name for run in known if run.name in names and run.status not in FINAL]
        store.ask("stop", left)
        lock = SupervisorLock(store.path)
        if lock.acquire():  # nobody else would do it
            try:
                _heed(Paths(state), store)
            finally:
                lock.release()
        holder = lock.holder()
    if json:
        typer.echo(json_module.dumps({"stop": left, "supervisor": holder.pid if holder else None}))
        return
    by = f", asked of process {holder.pid}" if holder else ""
    typer.echo("\n".join(f"Stop: {name}{by}" for name in left) or "nothing goes on")


def _heed(paths: Paths, store: Store) -> None:
    from ttt_config import HarnessConfig
    from ttt_config.resolve import resolve_as
    from ttt_harness.launch.choose import open_launcher
    from ttt_harness.supervisor import Supervisor

    settings = resolve_as(HarnessConfig, ("state", store.settings())).config
    Supervisor(paths, store, open_launcher(settings), settings, ()).heed_requests()
