"""The command `ttt`: a table of commands, each imported only when it is the one called.

A command is a module with an app named `app`, made by `ttt_cli.app.new_app`. Whatever goes wrong in
it ends here: an exception with an integer `exit_code` becomes one line on stderr and that code.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ttt_cli.app import COMPLETE_VARIABLE, new_app

if TYPE_CHECKING:
    from typer._click import Command, Context

COMMANDS = {
    "train": ("ttt_cli.commands.train", "Train a language model."),
    "generate": ("ttt_cli.commands.generate", "Let a trained model continue a prompt."),
    "interactive": ("ttt_cli.commands.interactive", "Write with a trained model, line by line."),
    "state": ("ttt_cli.commands.state", "Save and compare what a model remembers of a text."),
    "info": ("ttt_cli.commands.info", "Say what a run is and how far it has come."),
    "ckpt": ("ttt_cli.commands.ckpt", "List, check and prune the checkpoints of a run."),
    "eval": ("ttt_cli.commands.eval", "Measure a trained model on text."),
    "export-metrics": (
        "ttt_cli.commands.export_metrics",
        "Write what runs logged as CSV, for plotting.",
    ),
    "data": ("ttt_cli.commands.data", "Prepare, fetch, look at, check and export training data."),
    "tokenizer": ("ttt_cli.commands.tokenizer", "Train a tokenizer, or say what one is."),
    "kernels": ("ttt_cli.commands.kernels", "List, check, report and tune the kernels."),
    "doctor": ("ttt_cli.commands.doctor", "Check this machine, and say how to mend it."),
    "completions": ("ttt_cli.commands.completions", "Print a completion script for a shell."),
    "config": ("ttt_cli.commands.config", "Show, describe and compare configurations."),
}

INTERRUPTED = 130


class LazyCommand(TyperCommand):
    """A row of the table: its help line is known, its module is imported when it runs."""

    def __init__(self, name: str, module: str, help_line: str) -> None:
        super().__init__(name, help=help_line, rich_markup_mode=None)
        self.module = module

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: "Context | None" = None,
        **extra: object,
    ) -> "Context":
        """Parse the arguments with the real command, which then also runs in its own name."""
        app: typer.Typer = importlib.import_module(self.module).app
        return get_command(app).make_context(info_name, args, parent=parent, **extra)


def main(args: Sequence[str] | None = None) -> None:
    """Run `ttt` and exit.

    Args:
        args: the command line after `ttt`; None: that of the process.
    """
    args = list(sys.argv[1:] if args is None else args)
    _open_closed_streams()
    try:
        if COMPLETE_VARIABLE in os.environ:
            from typer.completion import completion_init

            completion_init()  # typer knows its shells only in apps with --install-completion
        code = _command().main(
            args, prog_name="ttt", complete_var=COMPLETE_VARIABLE, standalone_mode=False
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        _drop_unwritable_output()
        code = 1
        if not isinstance(error, BrokenPipeError):  # else the reader has what it wanted
            _report(error, code, args)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        _report(error, code, args)
    sys.exit(code or 0)


def _command() -> "Command":
    app = new_app()
    app.callback(invoke_without_command=True)(_root)
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("typer made no group of an app with a callback")
    for name, (module, help_line) in COMMANDS.items():
        group.add_command(LazyCommand(name, module, help_line))
    return group


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Train, run and study Test-Time-Training language models."""
    if version:
        from importlib.metadata import version as installed_version

        print(f"ttt {installed_version('ttt')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _open_closed_streams() -> None:
    """Give a process started without stdin, stdout or stderr empty ones, which Python does not."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  (for good)


def _drop_unwritable_output() -> None:
    """Make sure that what is still buffered does not fail again at interpreter exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception, code: int, args: Sequence[str]) -> None:
    """Say on stderr what went wrong, in the form the command line asks for; nobody need listen."""
    with suppress(OSError):
        _print_report(error, code, args)


def _print_report(error: Exception, code: int, args: Sequence[str]) -> None:
    options = args[: args.index("--")] if "--" in args else args
    if "--debug" in options:
        traceback.print_exception(error)
    issues = [str(issue) for issue in getattr(error, "issues", ())] or [_message(error)]
    if "--json" in options:
        report = {"type": type(error).__name__, "exit_code": code, "issues": issues}
        print(json.dumps({"error": report}), file=sys.stderr)
    else:
        print("\n".join(f"error: {issue}" for issue in issues), file=sys.stderr)


def _message(error: Exception) -> str:
    """The text of an error; a misused command line gets the way to its help added."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    if not isinstance(error, typer.TyperException):
        return str(error)
    text = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return text if context is None else f"{text} (see `{context.command_path} --help`)"
