import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data.readers import Problems, ReadOptions, SourceDocument
from ttt_data.readers.jsonl import read_jsonl

ADVICE = "; mend it, or leave such documents out with on_bad `skip`"


def read(path: Path, **options: Any) -> tuple[list[SourceDocument], Problems]:
    problems = Problems("skip")
    read_options = ReadOptions(**options)
    return list(read_jsonl(path, "a.jsonl", read_options, problems)), problems


def write(folder: Path, content: bytes) -> Path:
    path = folder / "a.jsonl"
    path.write_bytes(content)
    return path


def test_lines_become_documents_with_their_numbers(tmp_path: Path) -> None:
    rows = [{"id": 1, "text": "one\r\ntwo"}, {"text": "grüße \u2028", "meta": {"text": "no"}}]
    lines = b"".join(json.dumps(row).encode() + b"\r\n" for row in rows)
    found, problems = read(write(tmp_path, b"\xef\xbb\xbf" + lines.rstrip()))
    assert found == [
        SourceDocument("one\r\ntwo", "a.jsonl:1"),
        SourceDocument("grüße \u2028", "a.jsonl:2"),
    ]
    assert problems.total == 0


def test_another_field_and_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, '{"story": "grüße"}\n'.encode("latin-1"))
    assert read(path, text_field="story", encoding="latin-1")[0][0].text == "grüße"


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        (b'{"text": "a"', "not a JSON object", "not a JSON object: Input data was truncated"),
        (
            b'["a"]',
            "not a JSON object",
            "not a JSON object: Expected `object`, got `array`",
        ),
        (b'{"body": "a"}', "no text field", "no field `text`"),
        (b'{"text": null}', "text is not a string", "`text` is null, expected a string"),
        (
            b'{"text": [' + b"1," * 99 + b"1]}",
            "text is not a string",
            "`text` is [" + "1," * 19 + "1..., expected a string",
        ),
        (b'{"text": "\xff"}', "undecodable bytes", "not utf-8: invalid start byte"),
    ],
)
def test_a_bad_line_stops_the_pass_or_is_counted(
    tmp_path: Path, line: bytes, kind: str, message: str
) -> None:
    path = write(tmp_path, b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n' + line)
    found, problems = read(path)
    assert [document.origin for document in found] == ["a.jsonl:1", "a.jsonl:3"]
    assert [str(problem) for problem in problems] == [f"2 x {kind} (first: a.jsonl:2: {message})"]

    stopping = read_jsonl(path, "a.jsonl", ReadOptions(), Problems("stop"))
    assert next(stopping).text == "a"
    with pytest.raises(DataError, match=f"^{re.escape(f'a.jsonl:2: {message}{ADVICE}')}$"):
        next(stopping)


def test_lines_without_text_are_counted_but_never_stop(tmp_path: Path) -> None:
    path = write(tmp_path, b'\n{"text": ""}\n{"text": " \\n"}\n  \n{"text": "a"}\n')
    problems = Problems("stop")
    found = list(read_jsonl(path, "a.jsonl", ReadOptions(), problems))
    assert [document.origin for document in found] == ["a.jsonl:5"]
    assert problems.count("blank line") == 2
    assert problems.count("empty document") == 2
    assert str(problems).startswith("2 x blank line (first: a.jsonl:1: blank line); 2 x empty")


def test_deep_nesting_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"text": ' + b"[" * 100_000 + b'\n{"text": "a"}')
    found, problems = read(path)
    assert len(found) == problems.count("not a JSON object") == 1


json_lines = st.one_of(
    st.binary(max_size=20),
    st.dictionaries(
        st.sampled_from(["text", "id"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(), max_size=2),
    ).map(lambda row: json.dumps(row).encode()),
)


@given(st.lists(json_lines, max_size=6).map(b"\n".join))
def test_every_line_is_a_document_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), content)
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    found, problems = read(path)
    assert len(found) + problems.total == len(lines)
    assert all(document.text.strip() for document in found)
    try:
        list(read_jsonl(path, "a.jsonl", ReadOptions(), Problems("stop")))
        message = ""
    except DataError as error:
        message = str(error)
    assert "\n" not in message
