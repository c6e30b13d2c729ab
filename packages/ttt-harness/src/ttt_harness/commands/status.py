"""`ttt-harness status`: how every run stands.

Only the standard library is used, argparse too, so that it answers at once.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn

from ttt_harness.views import DEFAULT_STATE, as_json, look, table


class UsageError(Exception):
    """The command line is misused."""

    exit_code = 2


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def main(args: Sequence[str]) -> None:
    """Say how every run stands, whether or not a harness works on it."""
    parser = _Parser(
        prog="ttt-harness status",
        usage="ttt-harness status [OPTIONS]",
        description="Say how every run stands, whether or not a harness works on it.",
        allow_abbrev=False,
    )
    state_help = f"State of the harness, its .json or .db.  [default: {DEFAULT_STATE}]"
    parser.add_argument("--state", "-s", metavar="FILE", default=DEFAULT_STATE, help=state_help)
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    given = parser.parse_args(args)
    view = look(given.state)
    sys.stdout.write((as_json(view) if given.json else table(view)) + "\n")
