"""How every typer app of `ttt` is made, so that all look alike and none imports rich."""

import typer


def new_app(help_line: str | None = None) -> typer.Typer:
    """An empty app with plain help and without completion options of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, help=help_line)
