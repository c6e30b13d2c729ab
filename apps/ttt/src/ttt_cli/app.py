"""How every typer app of `ttt` is made, so that all look alike and none imports rich."""

import typer

COMPLETE_VARIABLE = "_TTT_COMPLETE"
"""Environment variable by which a shell asks `ttt` for completions instead of running it."""


def new_app(help_line: str | None = None) -> typer.Typer:
    """An empty app with plain help and without completion options of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, help=help_line)
