"""`ttt-harness watch`: how every run stands, live."""

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from ttt_harness.app import new_app
from ttt_harness.model import FINAL
from ttt_harness.options import Debug, Json, State
from ttt_harness.views import DEFAULT_STATE, StateView, as_json, look, table

app = new_app()


@app.command()
def watch(
    state: State = DEFAULT_STATE,
    every: Annotated[
        float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Pause between two looks.")
    ] = 1.0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how every run stands until all have ended; Ctrl-C leaves, and stops nothing.

    Without a terminal, a table (or with --json a line) for each change.
    """
    del debug
    if sys.stdout.isatty() and not json:
        _live(state, every)
    else:
        _lines(state, every, as_json if json else table)


def _live(state: str, every: float) -> None:
    from ttt_harness.live import LiveTable  # rich takes a moment that only a terminal is worth

    with LiveTable() as shown:
        while True:
            view = look(state)
            shown.show(view)
            if _all_ended(view):
                return
            time.sleep(every)


def _lines(state: str, every: float, write: Callable[[StateView], str]) -> None:
    said = None
    while True:
        view = look(state)
        text = write(view)
        if text != said:
            typer.echo(text)
            said = text
        if _all_ended(view):
            return
        time.sleep(every)


def _all_ended(view: StateView) -> bool:
    return all(each.run.status in FINAL for each in view.runs if each.run.planned)
