"""`ttt-harness report`: runs beside each other, as one HTML file or as numbers."""

import json as json_module
import time
from pathlib import Path
from typing import Annotated

import typer

from ttt_config import ConfigError
from ttt_harness.app import new_app
from ttt_harness.compare import RunSummary, compare
from ttt_harness.options import Debug, Json, State
from ttt_harness.page import write_page
from ttt_harness.store import Paths, Store
from ttt_harness.views import DEFAULT_STATE, names_or_all

app = new_app()


@app.command()
def report(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Names; all if left out.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The HTML file.")
    ] = "harness_report.html",
    state: State = DEFAULT_STATE,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare runs: final losses, curves, cost, settings that differ, attempts.

    Writes one HTML file that needs no network; with --json the numbers are printed instead.
    """
    del debug
    now = time.time()
    with Store(Paths(state).database) as store:
        names = names_or_all(store.runs(), runs or (), every=not runs)
        found = compare(store, names, now)
    if json:
        typer.echo(json_module.dumps({"runs": [_plain(run) for run in found]}))
        return
    path = Path(output)
    if path.is_dir():
        raise ConfigError(f"cannot write `{output}`: it is a folder; expected the name of a file")
    write_page(path, state, found, now)
    typer.echo(f"{path}  runs: {len(found)}")


def _plain(run: RunSummary) -> dict[str, object]:
    return {**run._asdict(), "attempts": [attempt._asdict() for attempt in run.attempts]}
