"""Command-line options that several commands have."""

from typing import Annotated

import typer

State = Annotated[
    str,
    typer.Option("--state", "-s", metavar="FILE", help="State of the harness, its .json or .db."),
]
Config = Annotated[
    str, typer.Option("--config", "-c", metavar="FILE", help="Harness file that asks for runs.")
]
Binary = Annotated[
    str | None,
    typer.Option("--ttt-binary", metavar="PATH", help="The command `ttt`, if it is elsewhere."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
"""Served by `ttt_harness.main`."""
