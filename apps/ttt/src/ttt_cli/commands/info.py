"""`ttt info`: what a run is, and how far it has come."""

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.app import new_app
from ttt_cli.generation import Run
from ttt_cli.options import Common, common_options
from ttt_cli.run_report import to_json, write_report

app = new_app()


@app.command()
@common_options
def info(
    run: Run,
    common: Common,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also all evaluations and all checkpoints.")
    ] = False,
) -> None:
    """Say what a run is and how far it has come, while it goes on or after.

    The newest and the best checkpoint are verified, with --verbose all of them.
    """
    from ttt_training.run_info import describe_run

    report = describe_run(Path(run), verbose=verbose)
    print(to_json(report) if common.json else write_report(report))
