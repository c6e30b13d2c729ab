"""Errors and interruptions of the data commands in the words of the command line."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from ttt_config import DataError

_OPTIONS = {
    "overwrite=True": "--overwrite",
    "on_bad `skip`": "--on-bad skip",
    "text_field": "--text-field",
    "the separator": "the --separator",
    "val_fraction": "--val-fraction",
    "test_fraction": "--test-fraction",
    "row_length": "--row-length",
}
"""What the library calls an argument, and what it is called here."""


@contextmanager
def as_options() -> Generator[None]:
    """Name options, not arguments, in the errors of the library."""
    try:
        yield
    except DataError as error:
        message = str(error)
        for argument, option in _OPTIONS.items():
            message = message.replace(argument, option)
        raise type(error)(message) from error


@contextmanager
def resumable() -> Generator[None]:
    """Say after Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        raise
