import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ttt_config.errors import DataError, TokenStoreCorruptError
from ttt_data.store import Provenance, TokenStore

WriteStore = Callable[..., TokenStore]
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def store(write_store: WriteStore) -> TokenStore:
    return write_store({"train": [[1, 2], [3]], "val": [[4]]}, shard_tokens=2)


def doctor(store: TokenStore, change: Change) -> None:
    """Change a manifest and sign it again, as somebody who means harm would."""
    path = store.folder / "manifest.json"
    content = msgspec.json.decode(path.read_bytes())
    change(content)
    unsigned = written(content | {"fingerprint": ""})
    content["fingerprint"] = hashlib.sha256(unsigned).hexdigest()
    path.write_bytes(written(content))


def written(content: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def test_signing_again_is_what_a_manifest_is_signed_with(store: TokenStore) -> None:
    doctor(store, lambda _: None)
    assert TokenStore.open(store.folder).fingerprint == store.fingerprint


def test_it_counts_and_keeps_what_was_said(write_store: WriteStore) -> None:
    provenance = Provenance(
        sources=[{"path": "a.txt", "bytes": 12}, {"repository": "x/y", "revision": None}],
        options={"seed": 7, "val_fraction": 0.05, "lower": False},
    )
    store = write_store({"train": [[1, 2], [3]], "val": [[4]]}, pad_id=0, provenance=provenance)
    manifest = store.manifest
    assert manifest.provenance == provenance
    assert (manifest.eos_id, manifest.bos_id, manifest.pad_id) == (1, None, 0)
    train = manifest.splits["train"]
    assert (train.num_tokens, train.num_documents, train.text_bytes) == (3, 2, 9)
    assert manifest.text_bytes == 12


@pytest.mark.parametrize(
    "name", ["../elsewhere.bin", "/etc/passwd", "a/b.bin", "..", "", ".bin", "a\\b", "x" * 101]
)
@pytest.mark.parametrize("kind", ["bin", "idx"])
def test_a_file_outside_the_folder_is_refused(store: TokenStore, kind: str, name: str) -> None:
    (store.folder.parent / "elsewhere.bin").write_bytes(
        (store.folder / "train-00000.bin").read_bytes()
    )

    def change(manifest: dict[str, Any]) -> None:
        manifest["splits"]["train"]["shards"][0][kind]["name"] = name

    doctor(store, change)
    with pytest.raises(TokenStoreCorruptError, match="is not the manifest of a store"):
        TokenStore.open(store.folder)


def set_split_name(manifest: dict[str, Any]) -> None:
    manifest["splits"]["../train"] = manifest["splits"].pop("train")


def share_a_file(manifest: dict[str, Any]) -> None:
    shards = manifest["splits"]["train"]["shards"]
    shards[1]["bin"]["name"] = shards[0]["bin"]["name"]


def take_other_tokenizer(manifest: dict[str, Any]) -> None:
    manifest["tokenizer"]["name"] = "manifest.json"


def say_more_tokens(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["shards"][0]["num_tokens"] = 1 << 30


def say_too_many_tokens(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["shards"][0]["num_tokens"] = 1 << 31


def say_more_documents(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["shards"][0]["num_documents"] = 1 << 61


def empty_a_split(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["shards"] = []


def add_a_field(manifest: dict[str, Any]) -> None:
    manifest["extra"] = 1


def reorder_splits(manifest: dict[str, Any]) -> None:
    manifest["splits"] = dict(reversed(manifest["splits"].items()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_split_name, "is not the manifest of a store"),
        (share_a_file, "names the file `train-00000.bin` where it must name `train-00001.bin`"),
        (take_other_tokenizer, "names the file `manifest.json` where it must name `tokenizer.json"),
        (say_more_tokens, "where its content needs 2147484672"),
        (say_too_many_tokens, "is not the manifest of a store"),
        (say_more_documents, "gives `train-00000.idx` 62 bytes where"),
        (empty_a_split, "is not the manifest of a store"),
        (add_a_field, "unknown field `extra`"),
        (reorder_splits, "is not written as ttt writes it"),
    ],
)
def test_a_doctored_manifest_is_refused(store: TokenStore, change: Change, message: str) -> None:
    doctor(store, change)
    with pytest.raises(TokenStoreCorruptError, match=message):
        TokenStore.open(store.folder)


def test_a_change_without_a_new_signature_is_noticed(store: TokenStore) -> None:
    path = store.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"eos_id": 1', b'"eos_id": 2'))
    with pytest.raises(TokenStoreCorruptError, match="was changed: its content has fingerprint"):
        TokenStore.open(store.folder)


def test_a_later_version_is_told_from_damage(store: TokenStore) -> None:
    path = store.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2, "new": 1'))
    with pytest.raises(DataError, match="unsupported version 2, expected 1") as caught:
        TokenStore.open(store.folder)
    assert type(caught.value) is DataError


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"format": 3}'])
def test_what_is_no_manifest_is_named(store: TokenStore, content: bytes) -> None:
    (store.folder / "manifest.json").write_bytes(content)
    with pytest.raises(TokenStoreCorruptError, match=r"manifest.json` is not the manifest"):
        TokenStore.open(store.folder)


def test_an_endless_manifest_is_not_read(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ttt_data.store.manifest.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(TokenStoreCorruptError, match="is too large: expected at most 100 bytes"):
        TokenStore.open(store.folder)
