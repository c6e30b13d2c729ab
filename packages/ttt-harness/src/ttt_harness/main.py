"""The command `ttt-harness`: a table of commands; a module is imported when its command is called.

Whatever goes wrong ends here: an exception with an integer `exit_code` becomes one line on stderr
and that code, as in `ttt`.
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

COMMANDS = {
    "run": "Start the runs of a harness file, or go on with them.",
    "status": "Say how every run stands.",
    "watch": "Show how every run stands, live.",
    "logs": "Show what a run has written.",
    "stop": "Let runs save and end.",
    "reset": "Bring back runs that failed or were stopped.",
    "report": "Compare runs, as one HTML file.",
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
        code = _dispatch(args)
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


def _dispatch(args: list[str]) -> int | None:
    """Run the command that is called, or the overview if none is."""
    if args[:1] == ["status"]:  # without typer, which imports pydantic, half a second
        from ttt_harness.commands import status

        return status.main(args[1:])
    from typer.main import get_command

    from ttt_harness.app import overview

    if args and args[0] in COMMANDS:
        module = importlib.import_module(f"ttt_harness.commands.{args[0]}")
        command, name, rest = get_command(module.app), f"ttt-harness {args[0]}", args[1:]
    else:
        command, name, rest = overview(COMMANDS), "ttt-harness", args
    return command.main(rest, prog_name=name, standalone_mode=False)


def _report(error: Exception, code: int, args: Sequence[str]) -> None:
    """Say on stderr what went wrong, in the form the command line asks for."""
    if "--debug" in args:
        import traceback

        traceback.print_exception(error)
    issues = [str(issue) for issue in getattr(error, "issues", ())] or [_message(error)]
    if "--json" in args:
        report = {"type": type(error).__name__, "exit_code": code, "issues": issues}
        sys.stderr.write(json.dumps({"error": report}) + "\n")
    else:
        sys.stderr.write("".join(f"error: {issue}\n" for issue in issues))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    format_message = getattr(error, "format_message", None)  # of typer's own errors
    if format_message is None:
        return str(error)
    text, context = format_message().rstrip("."), getattr(error, "ctx", None)
    return text if context is None else f"{text} (see `{context.command_path} --help`)"
