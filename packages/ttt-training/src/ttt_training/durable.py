"""Writes that survive a power cut."""

import os
from contextlib import suppress
from pathlib import Path


def fsync(path: Path) -> None:
    """Make the content of a file, or the entries of a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, content: bytes) -> None:
    """Put a small file in place: readers see the old content or the new, never a part."""
    unfinished = path.with_name(path.name + ".tmp")
    try:
        unfinished.write_bytes(content)
        fsync(unfinished)
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise
    fsync(path.parent)
