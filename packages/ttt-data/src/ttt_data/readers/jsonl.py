"""JSON lines: every line an object, one of whose fields is the text.

Lines end with LF or CRLF; line ends inside the text are kept as the file has them. A byte order
mark before the first line is dropped.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from ttt_data.readers.document import SourceDocument
from ttt_data.readers.options import ReadOptions
from ttt_data.readers.problems import Problems
from ttt_data.readers.stream import blocks, pieces

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_VALUE = 40


class _Row(msgspec.Struct):
    """What of a line is of interest; the field has the name the options give it."""

    text: object


def read_jsonl(
    path: Path, name: str, options: ReadOptions, problems: Problems
) -> Iterator[SourceDocument]:
    """Yield the documents of a file of JSON lines; every line is a document or a problem.

    Raises:
        DataError: the file cannot be read, or a line is bad and the policy is to stop.
    """
    # Fields without a place in the struct are skipped by the decoder, not built.
    row_type = msgspec.defstruct(
        "Row", [("text", Any, msgspec.UNSET)], rename={"text": options.text_field}
    )
    decoder = msgspec.json.Decoder(cast("type[_Row]", row_type))
    line_end = re.compile(re.escape(options.encoded("\n")))
    codec = options.codec
    for number, piece in enumerate(pieces(blocks(path), line_end), start=1):
        data = piece.data if number > 1 else piece.data.removeprefix(_BYTE_ORDER_MARK)
        where = f"{name}:{number}"
        try:
            text = decoder.decode(data if codec == "utf-8" else data.decode(codec)).text
        except UnicodeDecodeError as error:
            problems.bad("undecodable bytes", where, f"not {codec}: {error.reason}")
        except (msgspec.DecodeError, RecursionError) as error:
            if data.strip():
                problems.bad("not a JSON object", where, f"not a JSON object: {error}")
            else:
                problems.note("blank line", where)
        else:
            if isinstance(text, str) and text.strip():
                yield SourceDocument(text, where)
            else:
                _report(text, where, options.text_field, problems)


def _report(value: object, where: str, field: str, problems: Problems) -> None:
    if value is msgspec.UNSET:
        problems.bad("no text field", where, f"no field `{field}`")
    elif isinstance(value, str):
        problems.note("empty document", where)
    else:
        shown = msgspec.json.encode(value).decode()
        if len(shown) > _LONGEST_VALUE:
            shown = shown[:_LONGEST_VALUE] + "..."
        problems.bad("text is not a string", where, f"`{field}` is {shown}, expected a string")
