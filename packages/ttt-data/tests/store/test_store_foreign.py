"""Files of other programs, built here byte by byte."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data.store import TokenSplit, TokenStore, detect_format, open_foreign

WriteStore = Callable[..., TokenStore]


def ptok(
    rows: list[list[int]], *, pad: int, magic: bytes = b"PTOK", version: int = 1, tail: bytes = b""
) -> bytes:
    length = len(rows[0]) if rows else 4
    head = magic + struct.pack("<IQII", version, len(rows), length, pad)
    return head + b"".join(struct.pack(f"<{length}I", *row) for row in rows) + tail


def llmc(
    tokens: list[int], *, magic: int = 20240520, version: int = 1, count: int | None = None
) -> bytes:
    head = struct.pack("<3i", magic, version, len(tokens) if count is None else count)
    item = "H" if magic != 20240801 else "I"
    return head + bytes(1024 - 12) + struct.pack(f"<{len(tokens)}{item}", *tokens)


def megatron(
    lengths: list[int],
    documents: list[int],
    *,
    magic: bytes = b"MMIDIDX\x00\x00",
    version: int = 1,
    code: int = 8,
    item: int = 2,
    pointers: list[int] | None = None,
    tail: bytes = b"",
) -> bytes:
    if pointers is None:
        pointers = [item * sum(lengths[:n]) for n in range(len(lengths))]
    return (
        magic
        + struct.pack("<QBQQ", version, code, len(lengths), len(documents))
        + struct.pack(f"<{len(lengths)}i", *lengths)
        + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(documents)}q", *documents)
        + tail
    )


def npy(description: str, payload: bytes, *, version: tuple[int, int] = (1, 0)) -> bytes:
    header = description.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(header)) + header + payload


def npy_of(tokens: list[int], descr: str = "<u2", item: str = "H") -> bytes:
    description = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len(tokens)},), }}"
    return npy(description, struct.pack(f"<{len(tokens)}{item}", *tokens))


def check(split: TokenSplit, tokens: list[int], bounds: list[int]) -> None:
    assert len(split) == len(tokens)
    assert split.document_bounds.tolist() == bounds
    assert split.document_bounds.dtype == np.int64
    assert split.text_bytes is None
    assert len(split.fingerprint) == 64
    for start in range(len(tokens) + 1):
        for stop in range(start, len(tokens) + 1):
            assert split.tokens(start, stop).tolist() == tokens[start:stop]
    places = np.arange(len(tokens)).reshape(1, -1)[:, ::-1]
    assert split.take(places).tolist() == [tokens[::-1]]
    with pytest.raises(IndexError):
        split.take(np.array([[len(tokens)]]))
    with pytest.raises(IndexError):
        split.tokens(0, len(tokens) + 1)


# PTOK.


def test_ptok_rows_come_without_their_padding(tmp_path: Path) -> None:
    path = tmp_path / "tinystories_train_4_gpt2.bin"
    rows = [[5, 6, 7, 8], [5, 9, 9, 9], [9, 9, 9, 9], [9, 5, 9, 6], [7, 9, 9, 9]]
    path.write_bytes(ptok(rows, pad=9))
    assert detect_format(path) == "ptok"
    check(open_foreign(path), [5, 6, 7, 8, 5, 9, 5, 9, 6, 7], [0, 4, 5, 5, 9, 10])


def test_ptok_rows_are_scanned_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttt_data.store.foreign.ptok.CHUNK_TOKENS", 8)
    path = tmp_path / "a.bin"
    path.write_bytes(ptok([[n, n, 0] for n in range(1, 12)], pad=0))
    assert open_foreign(path).document_bounds.tolist() == list(range(0, 23, 2))


def test_ptok_without_rows_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(ptok([], pad=0))
    check(open_foreign(path), [], [0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PTOK123", "too small for a PTOK header: expected at least 24 bytes, got 7"),
        (ptok([[1]], pad=0, version=2), "unsupported version 2 of PTOK, expected 1"),
        (ptok([[1, 2]], pad=0)[:-1], "file size mismatch: expected 32 bytes, got 31"),
        (ptok([[1, 2]], pad=0, tail=b"x"), "file size mismatch: expected 32 bytes, got 33"),
        (b"PTOK" + struct.pack("<IQII", 1, 1 << 63, 1 << 31, 0), "file size mismatch"),
        (b"PTOK" + struct.pack("<IQII", 1, 3, 0, 0), "rows of 0 tokens, expected 1 or more"),
    ],
)
def test_a_malformed_ptok_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.bin`.* {message}"):
        open_foreign(path)


def test_another_magic_is_named_when_ptok_is_demanded(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(ptok([[1]], pad=0, magic=b"KOTP"))
    with pytest.raises(DataError, match=r"is not a PTOK file: expected magic b'PTOK', got b'KOTP'"):
        open_foreign(path, format="ptok")


# nanoGPT.


@pytest.mark.parametrize(("dtype", "item"), [("u16", "H"), ("u32", "I")])
def test_raw_tokens_are_read_as_the_type_that_was_given(
    tmp_path: Path, dtype: Any, item: str
) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(struct.pack(f"<6{item}", 3, 4, 0, 5, 0, 6))
    assert detect_format(path) == "nanogpt"
    check(open_foreign(path, dtype=dtype), [3, 4, 0, 5, 0, 6], [0, 6])


def test_the_pickle_beside_raw_tokens_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(struct.pack("<2H", 3, 4))
    (tmp_path / "meta.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    check(open_foreign(tmp_path / "train.bin"), [3, 4], [0, 2])


def test_documents_are_found_by_the_token_at_their_end_or_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ttt_data.store.foreign.flat.CHUNK_TOKENS", 4)
    path = tmp_path / "train.bin"
    path.write_bytes(struct.pack("<9H", 0, 3, 4, 0, 5, 0, 0, 6, 7))
    assert open_foreign(path, eos_id=0).document_bounds.tolist() == [0, 1, 4, 6, 7, 9]
    assert open_foreign(path, bos_id=0).document_bounds.tolist() == [0, 3, 5, 6, 9]
    assert open_foreign(path, bos_id=1 << 20).document_bounds.tolist() == [0, 9]
    with pytest.raises(DataError, match="give one of them"):
        open_foreign(path, eos_id=0, bos_id=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty: expected raw u16 tokens"), (b"abc", "3 bytes are no multiple of 2")],
)
def test_malformed_raw_tokens_are_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train.bin` .*{message}"):
        open_foreign(path)


# llm.c.


@pytest.mark.parametrize(("magic", "version"), [(20240520, 1), (20240801, 7)])
def test_llmc_files_are_read(tmp_path: Path, magic: int, version: int) -> None:
    path = tmp_path / "fineweb_val_000000.bin"
    path.write_bytes(llmc([50256, 3, 4, 50256, 5], magic=magic, version=version))
    assert detect_format(path) == "llmc"
    check(open_foreign(path), [50256, 3, 4, 50256, 5], [0, 5])
    check(open_foreign(path, bos_id=50256), [50256, 3, 4, 50256, 5], [0, 3, 5])


def test_several_files_are_laid_end_to_end(tmp_path: Path) -> None:
    paths = [tmp_path / f"fineweb_train_{n:06d}.bin" for n in range(3)]
    for path, tokens in zip(paths, ([0, 3, 4], [], [0, 5, 0]), strict=True):
        path.write_bytes(llmc(tokens))
    check(open_foreign(paths), [0, 3, 4, 0, 5, 0], [0, 3, 6])
    check(open_foreign(paths, bos_id=0), [0, 3, 4, 0, 5, 0], [0, 3, 5, 6])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (llmc([1])[:1000], "too small for an llm.c header: expected at least 1024 bytes, got 1000"),
        (llmc([1], version=2), "unsupported version 2 of llm.c's format, expected 1"),
        (llmc([1, 2], count=3), "file size mismatch: expected 1030 bytes, got 1028"),
        (llmc([1, 2], count=-1), "file size mismatch: expected 1022 bytes, got 1028"),
    ],
)
def test_a_malformed_llmc_file_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.bin`.* {message}"):
        open_foreign(path)


def test_another_magic_is_named_when_llmc_is_demanded(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(llmc([1], magic=20240522))
    with pytest.raises(DataError, match="expected magic 20240520 or 20240801, got 20240522"):
        open_foreign(path, format="llmc")


# Megatron.


def write_pair(folder: Path, index: bytes, tokens: bytes) -> Path:
    (folder / "my.text_document.idx").write_bytes(index)
    (folder / "my.text_document.bin").write_bytes(tokens)
    return folder / "my.text_document"


@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
@pytest.mark.parametrize(("code", "item", "size"), [(8, "H", 2), (4, "i", 4), (5, "q", 8)])
def test_megatron_pairs_are_read_with_their_documents(
    tmp_path: Path, suffix: str, code: int, item: str, size: int
) -> None:
    # Two sentences, nothing, one sentence: a document is a run of sequences.
    index = megatron([2, 3, 1], [0, 2, 2, 3], code=code, item=size)
    stem = write_pair(tmp_path, index, struct.pack(f"<6{item}", 3, 4, 5, 6, 7, 8))
    path = stem.with_name(stem.name + suffix)
    assert detect_format(path) == "megatron"
    check(open_foreign(path), [3, 4, 5, 6, 7, 8], [0, 5, 5, 6])


def test_megatron_tokens_may_begin_behind_a_header(tmp_path: Path) -> None:
    index = megatron(
        [2, 1], [0, 1, 2], pointers=[10, 14], tail=b"\0\1"
    )  # modes of a multimodal set
    stem = write_pair(tmp_path, index, bytes(10) + struct.pack("<3H", 3, 4, 5) + b"more")
    check(open_foreign(stem), [3, 4, 5], [0, 2, 3])


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"MMIDIDX\x00\x00", "too small for a Megatron index: expected at least 34 bytes, got 9"),
        (megatron([3], [0, 1], version=2), "unsupported version 2 of the Megatron index"),
        (megatron([3], [0, 1], code=7), "dtype code 7: tokens are integers"),
        (megatron([3], [0, 1])[:-1], "file size mismatch: expected 62 bytes, got 61"),
        (megatron([3], [0, 1], tail=b"12"), "file size mismatch: expected 62 bytes, got 64"),
        (megatron([4], [0, 1]), "its index expects bytes 0 to 8, got 6 bytes"),
        (megatron([3], [0, 1], pointers=[-2]), "its index expects bytes -2 to 4"),
        (megatron([-1, 4], [0, 2]), "sequence 0 has a negative length"),
        (megatron([1, 2], [0, 2], pointers=[0, 4]), "sequence 0 has 1 tokens, but its pointer"),
        (megatron([3], [0]), "its documents do not cover its 1 sequences"),
        (megatron([3], []), "its documents do not cover its 1 sequences"),
        (megatron([1, 1, 1], [0, 2, 1, 3]), "document 1 ends before it begins"),
    ],
)
def test_a_malformed_megatron_index_is_explained(
    tmp_path: Path, index: bytes, message: str
) -> None:
    stem = write_pair(tmp_path, index, struct.pack("<3H", 3, 4, 5))
    with pytest.raises(DataError, match=f"my.text_document.(idx|bin)`.* {message}"):
        open_foreign(stem)


def test_an_index_needs_its_tokens(tmp_path: Path) -> None:
    stem = write_pair(tmp_path, megatron([3], [0, 1]), b"")
    stem.with_name(f"{stem.name}.bin").unlink()
    with pytest.raises(DataError, match=r"text_document.bin` is missing: .* a .bin and an .idx"):
        open_foreign(stem.with_name(f"{stem.name}.idx"))


# .npy.


@pytest.mark.parametrize(
    ("descr", "item"), [("<u2", "H"), ("<i4", "i"), ("<u4", "I"), ("|u1", "B"), ("<i8", "q")]
)
def test_npy_files_are_read(tmp_path: Path, descr: str, item: str) -> None:
    path = tmp_path / "train.npy"
    path.write_bytes(npy_of([3, 4, 1, 5], descr, item))
    assert detect_format(path) == "npy"
    check(open_foreign(path), [3, 4, 1, 5], [0, 4])
    check(open_foreign(path, eos_id=1), [3, 4, 1, 5], [0, 3, 4])


def numpy_writes(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=array.dtype.hasobject)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY", "is not an .npy file"),
        (npy("{}", b"", version=(3, 0)), "unsupported version 3.0 of .npy, expected 1.0 or 2.0"),
        (npy("{'descr': ", b""), "has a damaged .npy header"),
        (npy("{}", b""), "has a damaged .npy header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "has a damaged .npy header"),
        (npy_of([1, 2])[:-1], "file size mismatch: expected 132 bytes, got 131"),
        (npy_of([1, 2]) + b"x", "file size mismatch: expected 132 bytes, got 133"),
        (numpy_writes(np.zeros((2, 3), np.uint16)), r"got uint16 of shape \(2, 3\)"),
        (numpy_writes(np.zeros(2)), "got float64 of shape"),
        (numpy_writes(np.zeros(2, dtype=">u2")), "got >u2 of shape"),
        (numpy_writes(np.array([{}, None])), "got object of shape"),
    ],
)
def test_a_malformed_npy_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.npy`.* {message}"):
        open_foreign(path)


# All of them.


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.sampled_from([ptok([[1, 2]], pad=0), llmc([1, 2]), npy_of([1, 2]), megatron([2], [0, 1])]),
    st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 255)), max_size=3),
    st.integers(-8, 8),
)
def test_a_damaged_file_is_opened_or_refused_in_one_line(
    content: bytes, changes: list[tuple[int, int]], growth: int
) -> None:
    damaged = bytearray(content + bytes(max(growth, 0)))[: len(content) + growth]
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.bin")
        path.write_bytes(damaged)
        if content.startswith(b"MMIDIDX"):
            path.rename(path.with_suffix(".idx"))
            path.write_bytes(bytes(8))
        try:
            split = open_foreign(path)
        except DataError as error:
            lines = str(error).splitlines()
        else:
            lines = ["opened"]
            bounds = split.document_bounds
            assert bounds[0] == 0
            assert bounds[-1] == len(split) == len(split.tokens(0, len(split)))
            assert np.all(np.diff(bounds) >= 0)
        assert len(lines) == 1


def test_our_own_shards_are_read_as_both_of_their_formats(write_store: WriteStore) -> None:
    store = write_store({"train": [[3, 4, 1], [5, 1]]})
    assert detect_format(store.folder) == "store"
    shard = store.folder / "train-00000.bin"
    assert detect_format(shard) == "megatron"
    check(open_foreign(shard), [3, 4, 1, 5, 1], [0, 3, 5])
    check(open_foreign(shard, format="llmc"), [3, 4, 1, 5, 1], [0, 5])
    with pytest.raises(DataError, match=r"is a token store: open it with TokenStore.open"):
        open_foreign(store.folder)


def test_the_same_tokens_have_the_same_fingerprint_in_every_format(tmp_path: Path) -> None:
    tokens = [3, 4, 1, 5]
    (tmp_path / "raw.bin").write_bytes(struct.pack("<4H", *tokens))
    (tmp_path / "llmc.bin").write_bytes(llmc(tokens, magic=20240801, version=7))
    (tmp_path / "a.npy").write_bytes(npy_of(tokens, "<i8", "q"))
    (tmp_path / "ptok.bin").write_bytes(ptok([[*tokens, 0]], pad=0))
    prints = {open_foreign(path).fingerprint for path in tmp_path.iterdir()}
    assert len(prints) == 1
    (tmp_path / "raw.bin").write_bytes(struct.pack("<4H", 3, 4, 1, 6))
    assert open_foreign(tmp_path / "raw.bin").fingerprint not in prints


def test_files_that_cannot_be_one_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(llmc([1]))
    (tmp_path / "b.bin").write_bytes(llmc([1], magic=20240801, version=7))
    (tmp_path / "c.bin").write_bytes(struct.pack("<H", 1))
    (tmp_path / "d.bin").write_bytes(ptok([[1]], pad=0))
    with pytest.raises(DataError, match="several types cannot be one split: uint16, uint32"):
        open_foreign([tmp_path / "a.bin", tmp_path / "b.bin"])
    with pytest.raises(DataError, match="several formats cannot be one split: llmc, nanogpt"):
        open_foreign([tmp_path / "a.bin", tmp_path / "c.bin"])
    with pytest.raises(DataError, match="PTOK has one file per split, got 2"):
        open_foreign([tmp_path / "d.bin", tmp_path / "d.bin"])
    with pytest.raises(DataError, match="no token files were given"):
        open_foreign([])


def test_what_is_no_token_file_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="is no token file this program knows: expected one of st"):
        detect_format(tmp_path / "notes.txt")
    for path in (tmp_path / "nowhere.bin", tmp_path):
        with pytest.raises(DataError, match="no tokens at"):
            detect_format(path)
    with pytest.raises(DataError, match=r"cannot read `.*nowhere.npy`: No such file"):
        open_foreign(tmp_path / "nowhere.npy", format="npy")
