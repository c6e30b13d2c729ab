"""How every typer app of `ttt-harness` is made, and the overview of its commands."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command

if TYPE_CHECKING:
    from typer._click import Command


def new_app() -> typer.Typer:
    """An empty app with plain help and without completion options of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def overview(commands: Mapping[str, str]) -> "Command":
    """The command that only knows the names and help lines of others."""
    app = new_app()
    app.callback(invoke_without_command=True)(_root)
    for name, line in commands.items():
        app.command(name, help=line)(lambda: None)
    return get_command(app)


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Plan, pack and supervise many training runs, so that nothing is lost."""
    if version:
        from importlib.metadata import version as installed_version

        typer.echo(f"ttt-harness {installed_version('ttt-harness')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
