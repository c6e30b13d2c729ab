"""How the text is found inside the files of a source."""

import codecs
import re
from typing import Literal

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers.problems import OnBad

Format = Literal["text", "jsonl", "parquet"]


class ReadOptions(Struct, frozen=True, kw_only=True):
    """What the readers of all formats are told.

    Attributes:
        text_field: the key (JSON lines) or column (Parquet) that holds the text.
        separator: what stands between two documents of a text file; None: a file is one document.
        encoding: of text and JSON lines.
        on_bad: whether a bad document stops the pass or is left out and counted.

    Raises:
        DataError: on construction, if one of them cannot be used.
    """

    text_field: str = "text"
    separator: str | None = None
    encoding: str = "utf-8"
    on_bad: OnBad = "stop"

    def __post_init__(self) -> None:
        """Refuse what no reader could work with."""
        if not self.text_field or re.search(r'[\\"\x00-\x1f]', self.text_field):
            raise DataError(f"not a usable name of the text field: {self.text_field!r}")
        if self.separator == "":
            raise DataError("the separator of documents is empty; leave it out to read whole files")
        if self.on_bad not in ("stop", "skip"):
            raise DataError(f"on_bad must be `stop` or `skip`, got `{self.on_bad}`")
        try:
            "text".encode(self.encoding)  # refuses codecs that are not of text, such as hex
        except (LookupError, ValueError) as error:
            raise DataError(
                f"unknown text encoding `{self.encoding}`, expected for example utf-8, latin-1 or "
                "utf-16"
            ) from error

    @property
    def codec(self) -> str:
        """The encoding by its one usual name; a byte order mark is dropped in any case."""
        name = codecs.lookup(self.encoding).name
        return "utf-8" if name == "utf-8-sig" else name

    def encoded(self, mark: str) -> bytes:
        """Return a line end or separator as it stands in the file.

        Raises:
            DataError: the encoding writes it with other bytes than ASCII does, as UTF-16 does, so
                that a file cannot be cut before it is decoded.
        """
        try:
            if b"\n ".decode(self.codec) == "\n ":
                return mark.encode(self.codec)
        except UnicodeEncodeError as error:
            raise DataError(f"the separator {mark!r} cannot be written in {self.codec}") from error
        except UnicodeDecodeError:
            pass
        raise DataError(
            f"files in {self.codec} can only be read as one document each; convert them to utf-8 "
            "to read lines or separated documents"
        )
