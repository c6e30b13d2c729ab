"""`ttt-harness status`: how every run stands."""

import typer

from ttt_harness.main import new_app
from ttt_harness.options import DEFAULT_STATE, Debug, Json, State
from ttt_harness.views import as_json, look, table

app = new_app()


@app.command()
def status(state: State = DEFAULT_STATE, json: Json = False, debug: Debug = False) -> None:
    """Say how every run stands, whether or not a harness works on it."""
    del debug
    view = look(state)
    typer.echo(as_json(view) if json else table(view))
