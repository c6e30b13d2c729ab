import gzip
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data.readers.stream import BLOCK_BYTES, Piece, blocks, pieces

LINE = re.compile(rb"\n")
BLANK_LINE = re.compile(rb"\r?\n\r?\n")
letters = st.binary(max_size=40).map(lambda data: bytes(b"a\r\n|"[byte % 4] for byte in data))


def in_blocks(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(borders)]


@given(letters, st.lists(st.integers(0, 40), max_size=8), st.sampled_from([LINE, BLANK_LINE]))
def test_pieces_do_not_depend_on_the_blocks(
    data: bytes, cuts: list[int], separator: re.Pattern[bytes]
) -> None:
    found = list(pieces(in_blocks(data, cuts), separator))
    expected = separator.split(data)
    if not expected[-1]:
        expected.pop()
    assert [piece.data for piece in found] == expected
    assert all(data[piece.offset :].startswith(piece.data) for piece in found)
    assert [piece.closed for piece in found[:-1]] == [True] * (len(found) - 1)


def test_a_long_piece_is_searched_a_logarithmic_number_of_times() -> None:
    class Counting:
        searches = 0

        def finditer(self, data: bytes) -> list[re.Match[bytes]]:
            self.searches += 1
            return list(LINE.finditer(data))

    separator: Any = Counting()
    stream = [b"x" * 10] * 1000 + [b"\n"]
    assert list(pieces(stream, separator)) == [Piece(0, b"x" * 10_000, closed=True)]
    assert separator.searches < 15


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst", ".txt.ZST"])
def test_blocks_are_the_decompressed_content(tmp_path: Path, suffix: str) -> None:
    content = b"line\n" * BLOCK_BYTES
    half = len(content) // 2
    packed = {
        ".txt": content,
        ".txt.gz": gzip.compress(content[:half]) + gzip.compress(content[half:]),
        ".txt.zst": zstandard.compress(content[:half]) + zstandard.compress(content[half:]),
    }
    path = tmp_path / f"a{suffix}"
    path.write_bytes(packed[suffix.lower()])
    found = list(blocks(path))
    assert b"".join(found) == content
    assert len(found) > 1


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_cut_off_compression_is_named(tmp_path: Path, suffix: str, cut: int) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    packed = {".gz": gzip.compress(b"text " * 99), ".zst": zstandard.compress(b"text " * 99)}
    path.write_bytes(packed[suffix][:-cut])
    message = f"`{path}` is cut short: its compressed data has no end; copy it again"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        list(blocks(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compression_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(b"not compressed at all")
    with pytest.raises(DataError, match=r"^`.*a.txt.* is damaged \(.+\); copy it again$"):
        list(blocks(path))


@given(st.binary(max_size=60), st.sampled_from([".gz", ".zst"]), st.booleans())
def test_any_bytes_are_content_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, headed: bool
) -> None:
    head = {".gz": gzip.compress(b"")[:10], ".zst": zstandard.MAGIC_NUMBER.to_bytes(4, "little")}
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes((head[suffix] if headed else b"") + data)
    try:
        list(blocks(path))
        message = ""
    except DataError as error:
        message = str(error)
    assert "\n" not in message


def test_empty_compressed_file_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(b""))
    assert list(blocks(path)) == []


def test_missing_zstandard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = tmp_path / "a.jsonl.zst"
    path.touch()
    message = (
        f"`{path}` needs zstandard to be read; install the extra: pip install 'ttt-data[zstd]'"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        list(blocks(path))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^cannot read `.*nope`: No such file or directory$"):
        list(blocks(tmp_path / "nope"))
