"""Paths in messages and records."""

from pathlib import PurePath


def shown(path: PurePath) -> str:
    """A path on one line of valid text: line ends and bytes that are no UTF-8 as escapes."""
    text = path.as_posix()
    return text if text.isprintable() else repr(text)[1:-1]
