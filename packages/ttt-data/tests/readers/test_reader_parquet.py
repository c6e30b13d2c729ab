import random
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ttt_config.errors import DataError
from ttt_data.readers import Problems, ReadOptions, SourceDocument
from ttt_data.readers.parquet import read_parquet


def read(
    path: Path, on_bad: Any = "skip", text_field: str = "text"
) -> tuple[list[SourceDocument], Problems]:
    problems = Problems(on_bad)
    options = ReadOptions(text_field=text_field)
    return list(read_parquet(path, path.name, options, problems)), problems


def write(folder: Path, column: Any, name: str = "text") -> Path:
    path = folder / "a.parquet"
    table = pa.table({"id": list(range(len(column))), name: column})
    pq.write_table(table, path, row_group_size=3)
    return path


def test_rows_become_documents_with_their_numbers(tmp_path: Path) -> None:
    found, problems = read(write(tmp_path, [f"row {n}" for n in range(1, 5001)]))
    assert found[0] == SourceDocument("row 1", "a.parquet:1")
    assert [document.text for document in found] == [
        f"row {document.origin.partition(':')[2]}" for document in found
    ]
    assert len(found) == 5000
    assert problems.total == 0


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("dictionary", [False, True])
def test_all_columns_of_strings_are_read(
    tmp_path: Path, kind: pa.DataType, dictionary: bool
) -> None:
    column = pa.array(["grüße", "grüße"], kind)
    found, _ = read(write(tmp_path, column.dictionary_encode() if dictionary else column))
    assert [document.text for document in found] == ["grüße", "grüße"]


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", None, "", "b", None])
    found, problems = read(path)
    assert [document.origin for document in found] == ["a.parquet:1", "a.parquet:4"]
    first = "a.parquet:2: `text` is null, expected a string"
    assert str(problems) == (
        f"2 x text is not a string (first: {first}); "
        "1 x empty document (first: a.parquet:3: empty document)"
    )
    with pytest.raises(DataError, match=f"^{re.escape(first)}; mend it"):
        read(path, "stop")


def test_bytes_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    column = pa.array([b"a", b"\xff", b"b"]).view(pa.string())
    found, problems = read(write(tmp_path, column))
    assert [document.text for document in found] == ["a", "b"]
    where = "a.parquet:2: not utf-8: invalid start byte"
    assert str(problems) == f"1 x undecodable bytes (first: {where})"


def test_a_missing_column_is_named_with_those_there(tmp_path: Path) -> None:
    path = write(tmp_path, ["a"], name="story")
    message = f"`{path}` has no column `text`, only id, story; name the right one as text_field"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(path)
    assert read(path, text_field="story")[0][0].text == "a"


def test_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ["a"])
    message = f"column `id` of `{path}` holds int64, expected strings"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(path, text_field="id")


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"^cannot read `.*a.parquet` as Parquet, row 1: .+$"):
        read(path)


def test_damage_is_an_error_or_a_problem_but_no_crash(tmp_path: Path) -> None:
    path = write(tmp_path, [f"story number {n}" for n in range(50)])
    content = path.read_bytes()
    dice = random.Random(5)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        try:
            read(path)
            message = ""
        except DataError as error:
            message = str(error)
        assert "\n" not in message


def test_missing_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ["a"])
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    message = (
        f"`{path}` needs pyarrow to be read; install the extra: pip install 'ttt-data[parquet]'"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(path)
