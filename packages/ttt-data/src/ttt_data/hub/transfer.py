"""Downloads one file: resumed where it broke off, checked, and only then given its name."""

import fcntl
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ttt_config.errors import DataError

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
MAX_FAILURES = 3
"""Failures in a row without a single new byte after which a download is given up."""

RETRY_WAIT_S = 1.0

_WORTH_RETRYING = frozenset({408, 429, 500, 502, 503, 504})
_RANGE_START = re.compile(r"bytes (\d+)-")


def part_of(target: Path) -> Path:
    """Where the bytes of an unfinished download are kept."""
    return target.with_name(target.name + ".part")


def download(
    url: str,
    target: Path,
    *,
    num_bytes: int,
    sha256: str | None,
    on_progress: Callable[[int], None] | None = None,
) -> str:
    """Download a file; what an earlier attempt left in its `.part` file is not fetched again.

    Args:
        url: http or https.
        target: where the file goes once it is whole; its folder is made.
        num_bytes: its size.
        sha256: of its content; None: whatever comes is accepted.
        on_progress: called with the bytes there are, after each block.

    Returns:
        The SHA-256 of the content.

    Raises:
        DataError: the server refuses, the connection keeps breaking, another process downloads the
            same file, or the content is not what it should be.
    """
    part = part_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+") as file:
            _lock(file, part)
            if file.tell() > num_bytes:
                file.truncate(0)
            _complete(file, url, target.name, num_bytes, on_progress or (lambda _: None))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 is not None and digest != sha256:
                part.unlink()
                raise DataError(
                    f"`{target.name}` was changed: expected sha256 {sha256}, got {digest}; it was "
                    "not kept"
                )
            os.fsync(file.fileno())
            part.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise DataError(f"cannot write `{part}`: {error.strerror or error}") from error
    return digest


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(f"`{part}` is being downloaded by another process; wait for it") from error


def _complete(
    file: BinaryIO, url: str, name: str, num_bytes: int, on_progress: Callable[[int], None]
) -> None:
    """Append to the file until it has all bytes, over as many connections as it takes."""
    failures = 0
    while (start := file.seek(0, os.SEEK_END)) < num_bytes:
        try:
            _append(file, url, start, num_bytes, on_progress)
            reason = "the connection was closed"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                file.truncate(0)
                raise DataError(
                    f"`{name}` was changed: it is shorter than the {num_bytes:,} bytes expected"
                ) from error
            if error.code not in _WORTH_RETRYING:
                raise DataError(
                    f"cannot download `{name}`: the server answered {error.code} {error.reason}"
                ) from error
            reason = f"the server answered {error.code}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error)
        done = file.seek(0, os.SEEK_END)
        failures = 0 if done > start else failures + 1
        if done < num_bytes and failures == MAX_FAILURES:
            raise DataError(
                f"the download of `{name}` broke off at {done:,} of {num_bytes:,} bytes "
                f"({reason}); run the same command again to go on from there"
            )
        if failures:
            time.sleep(RETRY_WAIT_S * failures)
    if start > num_bytes:
        file.truncate(0)
        raise DataError(f"`{name}` was changed: it is longer than the {num_bytes:,} bytes expected")


def _append(
    file: BinaryIO, url: str, start: int, num_bytes: int, on_progress: Callable[[int], None]
) -> None:
    """Make one request for what is missing and write what comes."""
    request = urllib.request.Request(url)  # noqa: S310 - the opener below speaks http and https only
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _opener().open(request, timeout=TIMEOUT_S) as response:
        match = _RANGE_START.match(response.headers.get("Content-Range", ""))
        sent_from = int(match[1]) if response.status == http.client.PARTIAL_CONTENT and match else 0
        if sent_from != start:
            file.truncate(sent_from)  # the server sends the file from its start
            file.seek(sent_from)
        while file.tell() <= num_bytes and (block := response.read(BLOCK_BYTES)):
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise DataError(f"cannot write `{file.name}`: {error.strerror}") from error
            on_progress(file.tell())


def _opener() -> urllib.request.OpenerDirector:
    """As urllib's own, but without `file:` and `ftp:`, to which a server could redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener
