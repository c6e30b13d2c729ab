import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data.readers import Problems, ReadOptions, SourceDocument
from ttt_data.readers.text import read_text

EOT = "<|endoftext|>"


def read(path: Path, on_bad: Any = "skip", **options: Any) -> tuple[list[SourceDocument], Problems]:
    problems = Problems(on_bad)
    read_options = ReadOptions(**options)
    return list(read_text(path, path.name, read_options, problems)), problems


def write(folder: Path, content: bytes) -> Path:
    path = folder / "a.txt"
    path.write_bytes(content)
    return path


def test_a_file_is_one_document(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf one\r\ntwo\rthree \n")
    assert read(path)[0] == [SourceDocument(" one\ntwo\rthree \n", "a.txt")]


def test_a_compressed_file_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one"))
    assert read(path)[0] == [SourceDocument("one", "a.txt.gz")]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "grüße\r\n".encode(encoding))
    assert read(path, encoding=encoding)[0][0].text == "grüße\n"


def test_a_separator_makes_several_documents(tmp_path: Path) -> None:
    path = write(tmp_path, f"one\n{EOT}\n\n two\n{EOT}\n\n{EOT}three\n{EOT}\n".encode())
    found, problems = read(path, separator=EOT)
    assert found == [
        SourceDocument("one", "a.txt#1"),
        SourceDocument("two", "a.txt#2"),
        SourceDocument("three", "a.txt#4"),
    ]
    assert str(problems) == "1 x empty document (first: a.txt#3: empty document)"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("separator", ["\n\n\n", "\r\n\r\n\r\n"])
def test_line_ends_of_the_separator_match_those_of_the_file(
    tmp_path: Path, line_end: bytes, separator: str
) -> None:
    path = write(tmp_path, b"one\n\ntwo\n\n\nthree".replace(b"\n", line_end))
    texts = [document.text for document in read(path, separator=separator)[0]]
    assert texts == ["one\n\ntwo", "three"]


def test_undecodable_bytes_are_located(tmp_path: Path) -> None:
    path = write(tmp_path, f"one{EOT}tw\xff{EOT}three".encode("latin-1"))
    found, problems = read(path, separator=EOT)
    assert [document.text for document in found] == ["one", "three"]
    where = "a.txt, byte 18: not utf-8: invalid start byte"
    assert str(problems) == f"1 x undecodable bytes (first: {where})"
    with pytest.raises(DataError, match=f"^{re.escape(where)}; mend it, or leave such"):
        read(path, "stop")


def test_an_empty_file_is_counted(tmp_path: Path) -> None:
    found, problems = read(write(tmp_path, b" \n"), "stop")
    assert found == []
    assert str(problems) == "1 x empty document (first: a.txt: empty document)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoding": "utf-17"},
            "unknown text encoding `utf-17`, expected for example utf-8, latin-1 or utf-16",
        ),
        (
            {"encoding": "hex"},
            "unknown text encoding `hex`, expected for example utf-8, latin-1 or utf-16",
        ),
        (
            {"separator": ""},
            "the separator of documents is empty; leave it out to read whole files",
        ),
        ({"text_field": ""}, "not a usable name of the text field: ''"),
        ({"text_field": 'a"b'}, "not a usable name of the text field: 'a\"b'"),
        ({"on_bad": "ignore"}, "on_bad must be `stop` or `skip`, got `ignore`"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        ReadOptions(**options)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_wide_encodings_cannot_be_cut(tmp_path: Path, encoding: str) -> None:
    message = "can only be read as one document each; convert them to utf-8"
    with pytest.raises(DataError, match=f"^files in {encoding} {message}"):
        read(write(tmp_path, b"abcd"), encoding=encoding, separator=EOT)


def test_a_separator_must_exist_in_the_encoding(tmp_path: Path) -> None:
    message = "the separator '\u2042' cannot be written in iso8859-1"
    with pytest.raises(DataError, match=f"^{message}$"):
        read(write(tmp_path, b"abcd"), encoding="latin-1", separator="\u2042")


@given(
    st.lists(st.sampled_from([b"|", b"\n", b"a", b" ", b"\xff", b"\xc3", b"\xbc"])).map(b"".join)
)
def test_every_piece_is_a_document_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), content)
    *closed, rest = content.split(b"|")
    num_pieces = len(closed) + bool(rest.strip())
    found, problems = read(path, separator="|")
    assert len(found) + problems.total == num_pieces
    found, problems = read(path)
    assert len(found) + problems.total == 1
