"""The command `ttt-harness`: a table of commands; a module is imported when its command is called.

Whatever goes wrong ends here: an exception with an integer `exit_code` becomes one line on stderr
and that code, as in `ttt`.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command

if TYPE_CHECKING:
    from typer._click import Command

COMMANDS = {
    "run": "Start the runs of a harness file, or go on with them.",
    "status": "Say how every run stands.",
    "watch": "Show how every run stands, live.",
    "logs": "Show what a run has written.",
    "stop": "Let runs save and end.",
    "reset": "Bring back runs that failed or were stopped.",
    "estimate": "Say what memory runs take and what fits together.",
}
INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> None:
    """Run `ttt-harness` and exit.

    Args:
        args: the command line after `ttt-harness`; None: that of the process.
    """
    args = list(sys.argv[1:] if args is None else args)
    try:
        command, rest, name = _find_command(args)
        code = command.main(rest, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        code = 1 if isinstance(error, OSError) else getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        with suppress(OSError):  # nobody need listen
            _report(error, code, args)
    sys.exit(code or 0)


def _find_command(args: list[str]) -> "tuple[Command, list[str], str]":
    """The command that is called, its arguments and its name; the overview if none is."""
    if args and args[0] in COMMANDS:
        module = importlib.import_module(f"ttt_harness.commands.{args[0]}")
        return get_command(module.app), args[1:], f"ttt-harness {args[0]}"
    app = new_app()
    app.callback(invoke_without_command=True)(_root)
    for name, line in COMMANDS.items():
        app.command(name, help=line)(lambda: None)
    return get_command(app), args, "ttt-harness"


def new_app() -> typer.Typer:
    """An empty app with plain help and without completion options of its own."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


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


def _report(error: Exception, code: int, args: Sequence[str]) -> None:
    """Say on stderr what went wrong, in the form the command line asks for."""
    if "--debug" in args:
        traceback.print_exception(error)
    issues = [str(issue) for issue in getattr(error, "issues", ())] or [_message(error)]
    if "--json" in args:
        report = {"type": type(error).__name__, "exit_code": code, "issues": issues}
        typer.echo(json.dumps({"error": report}), err=True)
    else:
        typer.echo("\n".join(f"error: {issue}" for issue in issues), err=True)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    if not isinstance(error, typer.TyperException):
        return str(error)
    text = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text} (see `{context.command_path} --help`)"
