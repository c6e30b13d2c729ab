"""Our shards, read by the rules of other programs and byte by byte."""

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_data import Tokenizer
from ttt_data.store import TokenStore

WriteStore = Callable[..., TokenStore]

DOCUMENTS = [[5, 6, 1], [], [7, 299, 8, 9, 1], [2, 1]]
FLAT = [token for document in DOCUMENTS for token in document]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that every index is made of several."""
    monkeypatch.setattr("ttt_data.store.index._CHUNK", 3)


@pytest.fixture(params=[300, 65_536, 65_537])
def shard(request: pytest.FixtureRequest, write_store: WriteStore) -> Path:
    """One `.bin` of u16 or, for the last vocabulary, u32 tokens."""
    store = write_store({"train": DOCUMENTS}, vocab_size=request.param, bos_id=2)
    return store.folder / "train-00000.bin"


def is_u16(shard: Path) -> bool:
    return json.loads((shard.parent / "manifest.json").read_bytes())["vocab_size"] <= 65_536


def test_llmc_and_modded_nanogpt_read_a_shard(shard: Path) -> None:
    content = shard.read_bytes()
    header = np.frombuffer(content[: 256 * 4], dtype=np.int32)
    assert (header[0], header[1]) == ((20240520, 1) if is_u16(shard) else (20240801, 7))
    num_tokens = int(header[2])
    dtype = np.dtype(np.uint16 if is_u16(shard) else np.uint32)
    assert len(content) == 256 * 4 + num_tokens * dtype.itemsize
    assert np.frombuffer(content[256 * 4 :], dtype=dtype).tolist() == FLAT


def test_nanogpt_reads_a_shard_with_an_offset(write_store: WriteStore) -> None:
    shard = write_store({"train": DOCUMENTS}).folder / "train-00000.bin"
    data = np.memmap(shard, dtype=np.uint16, mode="r", offset=1024)
    assert np.asarray(data).tolist() == FLAT


def test_the_index_is_megatrons(shard: Path) -> None:
    content = shard.with_suffix(".idx").read_bytes()
    assert content[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, pointers = struct.unpack_from("<QBQQ", content, 9)
    assert (version, code) == (1, 8 if is_u16(shard) else 4)
    assert (sequences, pointers) == (4, 5)
    assert len(content) == 34 + 4 * (4 + 8) + 5 * 8
    lengths = struct.unpack_from("<4i", content, 34)
    starts = struct.unpack_from("<4q", content, 34 + 16)
    assert struct.unpack_from("<5q", content, 34 + 16 + 32) == (0, 1, 2, 3, 4)
    format_ = "H" if is_u16(shard) else "i"
    tokens = shard.read_bytes()
    for document, length, start in zip(DOCUMENTS, lengths, starts, strict=True):
        assert list(struct.unpack_from(f"<{length}{format_}", tokens, start)) == document


def test_the_rest_of_the_header_is_ours(shard: Path) -> None:
    content = shard.read_bytes()
    assert set(content[12:64]) == set(content[156:1024]) == {0}
    assert content[64:68] == b"TTTD"
    vocab_size = json.loads((shard.parent / "manifest.json").read_bytes())["vocab_size"]
    assert struct.unpack_from("<III", content, 68) == (1, 2 if is_u16(shard) else 4, vocab_size)
    assert struct.unpack_from("<QQ", content, 80) == (10, 4)
    assert struct.unpack_from("<qqq", content, 96) == (1, 2, -1)
    tokenizer = (shard.parent / "tokenizer.json").read_bytes()
    assert content[120:152] == hashlib.sha256(tokenizer).digest()
    assert struct.unpack_from("<I", content, 152) == (zlib.crc32(content[1024:]),)


def test_the_hash_of_the_tokenizer_is_the_tokenizers_own(write_store: WriteStore) -> None:
    tokenizer = Tokenizer.load("bytes")
    store = write_store({"train": [[1]]}, tokenizer_json=tokenizer.to_json())
    assert store.manifest.tokenizer.sha256 == tokenizer.sha256
    assert Tokenizer.load(store.tokenizer_path) == tokenizer
