"""Plain text and Markdown: a file is one document, or several with a separator between them.

A byte order mark is dropped and CRLF line ends become LF, in the separator too. White space next to
a separator is dropped; a whole file is kept to the last space.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ttt_data.readers.document import SourceDocument
from ttt_data.readers.options import ReadOptions
from ttt_data.readers.problems import Problems
from ttt_data.readers.stream import Piece, blocks, pieces


def read_text(
    path: Path, name: str, options: ReadOptions, problems: Problems
) -> Iterator[SourceDocument]:
    """Yield the documents of a text file.

    Raises:
        DataError: the file cannot be read, or is bad and the policy is to stop.
    """
    if options.separator is None:
        whole = Piece(0, b"".join(blocks(path)), closed=False)
        text = _decode(whole, name, options.codec, problems)
        if text is not None and not text.strip():
            problems.note("empty document", name)
        elif text is not None:
            yield SourceDocument(text, name)
        return
    for number, piece in enumerate(pieces(blocks(path), _pattern(options)), start=1):
        text = _decode(piece, name, options.codec, problems)
        if text is None:
            continue
        if text := text.strip():
            yield SourceDocument(text, f"{name}#{number}")
        elif piece.closed:  # blank rest behind the last separator: no document
            problems.note("empty document", f"{name}#{number}")


def _pattern(options: ReadOptions) -> re.Pattern[bytes]:
    """The separator, each of its line ends as LF or CRLF."""
    mark = options.encoded((options.separator or "").replace("\r\n", "\n"))
    return re.compile(re.escape(mark).replace(re.escape(b"\n"), rb"\r?\n"))


def _decode(piece: Piece, name: str, codec: str, problems: Problems) -> str | None:
    try:
        text = piece.data.decode(codec)
    except UnicodeDecodeError as error:
        where = f"{name}, byte {piece.offset + error.start}"
        problems.bad("undecodable bytes", where, f"not {codec}: {error.reason}")
        return None
    if piece.offset == 0:
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n")
