"""Files as streams of bytes: decompressed block by block, then cut at line ends or separators."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from re import Pattern
from typing import NamedTuple

from ttt_config.errors import DataError
from ttt_data.readers.shown import shown

BLOCK_BYTES = 1 << 20
_ZSTD_BLOCK_BYTES = 1 << 17


class Piece(NamedTuple):
    """A stretch of a stream between two separators.

    Attributes:
        offset: byte of the decompressed stream it starts at.
        data: the bytes, without the separator.
        closed: a separator follows; only the last piece of a stream may be open.
    """

    offset: int
    data: bytes
    closed: bool


def blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, `.gz` and `.zst` decompressed.

    Raises:
        DataError: the file cannot be read, or its compressed data is damaged or cut short.
    """
    try:
        match path.suffix.lower():
            case ".gz":
                yield from _gzip_blocks(path)
            case ".zst":
                yield from _zstd_blocks(path)
            case _:
                yield from _plain_blocks(path)
    except OSError as error:
        raise DataError(f"cannot read `{shown(path)}`: {error.strerror or error}") from error


def pieces(stream: Iterable[bytes], separator: Pattern[bytes]) -> Iterator[Piece]:
    """Cut a stream at every match of a separator; what follows the last one comes as it is.

    Memory holds one piece and one block. A piece longer than a block is searched again each time
    the bytes waiting have doubled, so the time stays linear in the length of the stream.
    """
    waiting: list[bytes] = []
    num_waiting, next_search, offset = 0, 0, 0
    for block in chain(stream, [b""]):  # the empty block stands for the end and is always searched
        waiting.append(block)
        num_waiting += len(block)
        if block and num_waiting < next_search:
            continue
        buffer, start = b"".join(waiting), 0
        for match in separator.finditer(buffer):
            yield Piece(offset + start, buffer[start : match.start()], closed=True)
            start = match.end()
        offset += start
        waiting = [buffer[start:]]
        num_waiting = len(waiting[0])
        next_search = 2 * num_waiting
    if num_waiting:
        yield Piece(offset, waiting[0], closed=False)


def _plain_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _gzip_blocks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        try:
            while block := file.read(BLOCK_BYTES):
                yield block
        except EOFError as error:
            raise _cut_short(path) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, error) from error


def _zstd_blocks(path: Path) -> Iterator[bytes]:
    # zstandard's file-like reader takes a frame that was cut short for the end of the file, so the
    # frames are followed here.
    try:
        import zstandard
    except ImportError as error:
        raise DataError(
            f"`{shown(path)}` needs zstandard to be read; install the extra: "
            "pip install 'ttt-data[zstd]'"
        ) from error
    frame = zstandard.ZstdDecompressor().decompressobj()
    complete = True
    with path.open("rb") as file:
        while data := file.read(_ZSTD_BLOCK_BYTES):
            while data:
                try:
                    block = frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise _damaged(path, error) from error
                if block:
                    yield block
                complete, data = frame.eof, frame.unused_data
                if complete:
                    frame = zstandard.ZstdDecompressor().decompressobj()
    if not complete:
        raise _cut_short(path)


def _cut_short(path: Path) -> DataError:
    return DataError(f"`{shown(path)}` is cut short: its compressed data has no end; copy it again")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"`{shown(path)}` is damaged ({error}); copy it again")
