import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_config.errors import DataError
from ttt_data.store import ExportFormat, TokenStore, export_split, open_foreign
from ttt_data.store.durable import AtomicFile

WriteStore = Callable[..., TokenStore]

DOCUMENTS = [[5, 6, 1], [7, 299, 9, 10, 1], [], [2, 1]]
FLAT = [token for document in DOCUMENTS for token in document]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that every export is made of several."""
    monkeypatch.setattr("ttt_data.store.split.CHUNK_TOKENS", 4)
    monkeypatch.setattr("ttt_data.store.export.CHUNK_TOKENS", 8)


@pytest.fixture(params=[300, 70_000])
def store(request: pytest.FixtureRequest, write_store: WriteStore) -> TokenStore:
    """Several shards of u16 or of u32 tokens."""
    return write_store({"train": DOCUMENTS}, vocab_size=request.param, shard_tokens=6)


def item_of(store: TokenStore) -> str:
    return "H" if store.manifest.token_bytes == 2 else "I"


def test_nanogpt(store: TokenStore, tmp_path: Path) -> None:
    exported = export_split(store.split("train"), tmp_path / "train.bin", "nanogpt")
    assert exported.files == [tmp_path / "train.bin"]
    assert (exported.num_tokens, exported.num_dropped) == (10, 0)
    assert (tmp_path / "train.bin").read_bytes() == struct.pack("<10H", *FLAT)


def test_llmc(store: TokenStore, tmp_path: Path) -> None:
    export_split(store.split("train"), tmp_path / "train.bin", "llmc")
    content = (tmp_path / "train.bin").read_bytes()
    magic = (20240520, 1) if item_of(store) == "H" else (20240801, 7)
    assert content[:12] == struct.pack("<3i", *magic, 10)
    assert set(content[12:1024]) == {0}
    assert content[1024:] == struct.pack(f"<10{item_of(store)}", *FLAT)


def test_megatron(store: TokenStore, tmp_path: Path) -> None:
    exported = export_split(store.split("train"), tmp_path / "train", "megatron")
    assert exported.files == [tmp_path / "train.bin", tmp_path / "train.idx"]
    item = item_of(store)
    size = struct.calcsize(item)
    assert (tmp_path / "train.bin").read_bytes() == struct.pack(f"<10{item}", *FLAT)
    assert (tmp_path / "train.idx").read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<QBQQ", 1, 8 if size == 2 else 4, 4, 5)
        + struct.pack("<4i", 3, 5, 0, 2)
        + struct.pack("<4q", 0, 3 * size, 8 * size, 8 * size)
        + struct.pack("<5q", 0, 1, 2, 3, 4)
    )


def test_npy(store: TokenStore, tmp_path: Path) -> None:
    export_split(store.split("train"), tmp_path / "train.npy", "npy")
    loaded = np.load(tmp_path / "train.npy", mmap_mode="r")
    assert loaded.tolist() == FLAT
    assert loaded.dtype == np.dtype(item_of(store))


def test_ptok_cuts_and_pads_rows(store: TokenStore, tmp_path: Path) -> None:
    split = store.split("train")
    exported = export_split(split, tmp_path / "train.bin", "ptok", row_length=4, pad_id=0)
    assert (exported.num_tokens, exported.num_dropped) == (9, 1)
    rows = [5, 6, 1, 0, 7, 299, 9, 10, 0, 0, 0, 0, 2, 1, 0, 0]
    assert (tmp_path / "train.bin").read_bytes() == (
        b"PTOK" + struct.pack("<IQII", 1, 4, 4, 0) + struct.pack("<16I", *rows)
    )
    assert open_foreign(tmp_path / "train.bin").document_bounds.tolist() == [0, 3, 7, 7, 9]


@pytest.mark.parametrize("to", ["nanogpt", "llmc", "megatron", "npy", "ptok"])
def test_what_is_exported_can_be_opened(
    store: TokenStore, tmp_path: Path, to: ExportFormat
) -> None:
    split = store.split("train")
    path = tmp_path / ("a.npy" if to == "npy" else "a.bin")
    export_split(split, path, to, row_length=5, pad_id=0)
    opened = open_foreign(path)
    assert opened.tokens(0, len(opened)).tolist() == FLAT
    again = export_split(opened, tmp_path / "again", to, row_length=5, pad_id=0)
    first = [path, path.with_suffix(".idx")] if to == "megatron" else [path]
    assert [file.read_bytes() for file in again.files] == [file.read_bytes() for file in first]


def test_ids_too_large_for_the_format_are_named(write_store: WriteStore, tmp_path: Path) -> None:
    split = write_store({"train": [[1, 2, 3, 4, 65_536]]}, vocab_size=70_000).split("train")
    with pytest.raises(DataError, match="token 4 is 65536, but this format holds ids up to 65535"):
        export_split(split, tmp_path / "train.bin", "nanogpt")
    assert not list(tmp_path.glob("train*"))
    (tmp_path / "a.npy").write_bytes(b"")
    np.save(tmp_path / "a.npy", np.array([1, -1], dtype=np.int64))
    with pytest.raises(DataError, match="token 1 is -1"):
        export_split(open_foreign(tmp_path / "a.npy"), tmp_path / "train.bin", "llmc")


def test_ptok_needs_a_row_length_and_a_padding(store: TokenStore, tmp_path: Path) -> None:
    split = store.split("train")
    with pytest.raises(DataError, match="needs a row_length of 1 or more, got None"):
        export_split(split, tmp_path / "a.bin", "ptok", pad_id=0)
    with pytest.raises(DataError, match="needs a pad_id"):
        export_split(split, tmp_path / "a.bin", "ptok", row_length=4)


def test_files_are_replaced_only_when_told(store: TokenStore, tmp_path: Path) -> None:
    split = store.split("train")
    (tmp_path / "train.idx").write_text("mine")
    with pytest.raises(DataError, match=r"train.idx` exists; replace it with overwrite=True"):
        export_split(split, tmp_path / "train", "megatron")
    export_split(split, tmp_path / "train", "megatron", overwrite=True)
    assert open_foreign(tmp_path / "train").document_bounds.tolist() == [0, 3, 8, 8, 10]


def test_an_export_that_fails_leaves_what_was_there(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.bin"
    path.write_text("before")
    write = AtomicFile.write

    def fail_late(file: AtomicFile, data: bytes) -> None:
        if len(data) == 4:
            raise KeyboardInterrupt
        write(file, data)

    monkeypatch.setattr(AtomicFile, "write", fail_late)
    with pytest.raises(KeyboardInterrupt):
        export_split(store.split("train"), path, "nanogpt", overwrite=True)
    assert [file.name for file in tmp_path.glob("train*")] == ["train.bin"]
    assert path.read_text() == "before"


def test_a_folder_that_is_not_there_is_made(store: TokenStore, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    assert export_split(store.split("train"), path, "nanogpt").files == [path]
    assert path.is_file()


def test_a_path_through_a_file_is_named(store: TokenStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write `.*file/a.bin`: (Not a dir|File exists)"):
        export_split(store.split("train"), tmp_path / "file" / "a.bin", "nanogpt")
