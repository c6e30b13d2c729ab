"""`ttt-harness logs`: what a run has written, and how its attempts ended."""

import json as json_module
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from ttt_harness.app import new_app
from ttt_harness.launch.names import STDERR_NAME, STDOUT_NAME
from ttt_harness.model import ACTIVE, RunRecord
from ttt_harness.options import Debug, Json, State
from ttt_harness.store import Paths, Store
from ttt_harness.views import DEFAULT_STATE, names_or_all

app = new_app()

_PAUSE_S = 0.5


@app.command()
def logs(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    state: State = DEFAULT_STATE,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="Last lines of each log.")
    ] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until the run ends.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how the attempts at a run ended, and the ends of its stdout.log and stderr.log."""
    del debug
    database = Paths(state).database
    with Store(database) as store:
        names_or_all(store.runs(), [run], every=False)
        attempts = store.attempts(run)
        record = _find(store, run)
    out = Path(record.out)
    ends = {name: _last_lines(out / name, lines) for name in (STDOUT_NAME, STDERR_NAME)}
    if json:
        history = [attempt._asdict() for attempt in attempts]
        typer.echo(json_module.dumps({"attempts": history, **ends}))
        return
    for attempt in attempts:
        took_s = attempt.ended - attempt.started
        detail = f": {attempt.detail}" if attempt.detail else ""
        typer.echo(f"attempt {attempt.number}: {attempt.cause} after {took_s:.0f} s{detail}")
    for name, end in ends.items():
        typer.echo(f"\n{out / name}")
        typer.echo("\n".join(end))
    if follow:
        _follow(database, run, out / STDOUT_NAME)


def _follow(database: Path, run: str, log: Path) -> None:
    place = log.stat().st_size if log.exists() else 0
    while True:
        with Store(database) as store:
            goes_on = _find(store, run).status in (*ACTIVE, "pending")
        if log.exists():
            with log.open(errors="replace") as file:
                file.seek(place)
                typer.echo(file.read(), nl=False)
                place = file.tell()
        if not goes_on:
            return
        time.sleep(_PAUSE_S)


def _find(store: Store, name: str) -> RunRecord:
    return next(run for run in store.runs() if run.name == name)


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.exists():
        return []
    with path.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]
