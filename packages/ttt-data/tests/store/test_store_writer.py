import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttt_config.errors import DataError
from ttt_data.store import Provenance, TokenStore, TokenStoreWriter
from ttt_data.store.durable import AtomicFile

WriteStore = Callable[..., TokenStore]
Options = dict[str, Any]

NOT_PLAIN: Any = [1]


def shard_contents(store: TokenStore, split: str = "train") -> list[tuple[int, int]]:
    return [
        (shard.num_tokens, shard.num_documents) for shard in store.manifest.splits[split].shards
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after_one_shard(folder: Path, options: Options) -> None:
    """Leave an unfinished store behind: one finished shard of two documents."""
    writer = TokenStoreWriter(folder, **options)
    for _ in range(3):
        writer.add_document("train", [3] * 5, 5)
    writer.abandon()


# How documents are laid out.


def test_shards_hold_whole_documents(write_store: WriteStore) -> None:
    documents = [[2] * length for length in (4, 6, 1, 9, 25, 0, 3)]
    store = write_store({"train": documents}, shard_tokens=10)
    # 4+6 fit exactly, 25 is larger than a shard, and nothing joins it.
    assert shard_contents(store) == [(10, 2), (10, 2), (25, 1), (3, 2)]


def test_a_block_that_ends_in_an_error_leaves_no_store(tmp_path: Path, options: Options) -> None:
    def stop() -> None:
        with TokenStoreWriter(tmp_path, **options) as writer:
            writer.add_document("train", [1], 1)
            writer.add_document("train", [300], 1)

    with pytest.raises(DataError, match="token 0 is 300"):
        stop()
    assert set(files_of(tmp_path)) == {"journal.jsonl", "tokenizer.json"}


def test_splits_are_independent_of_the_order_they_are_filled_in(
    tmp_path: Path, options: Options
) -> None:
    a, b = [[3] * n for n in (2, 5, 4)], [[4] * n for n in (6, 1)]
    orders = [
        [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)],
        [("b", 0), ("a", 0), ("b", 1), ("a", 1), ("a", 2)],
    ]
    written = []
    for number, order in enumerate(orders):
        folder = tmp_path / str(number)
        with TokenStoreWriter(folder, **options, shard_tokens=6) as writer:
            for split, index in order:
                writer.add_document(split, {"a": a, "b": b}[split][index], 1)
        written.append(files_of(folder))
    assert written[0] == written[1]


def test_only_the_store_is_left_when_it_is_finished(write_store: WriteStore) -> None:
    store = write_store({"train": [[1]], "val": [[1]]})
    shards = {f"{split}-00000.{kind}" for split in ("train", "val") for kind in ("bin", "idx")}
    assert set(files_of(store.folder)) == {"manifest.json", "tokenizer.json"} | shards


@pytest.mark.parametrize("kind", [list, tuple, np.array, np.uint8, np.int64])
def test_ids_may_be_any_row_of_integers(write_store: WriteStore, kind: Callable[..., Any]) -> None:
    split = write_store({"train": [kind([7, 8, 1])]}).split("train")
    assert split.tokens(0, 3).tolist() == [7, 8, 1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 300], "document 1 of split `train`: token 1 is 300, expected an id from 0 to 299"),
        ([1, 2, -1], "token 2 is -1"),
        ([0.5], "got float64 of shape"),
        ([[1, 2]], r"got int64 of shape \(1, 2\)"),
    ],
)
def test_a_bad_document_is_refused_and_the_writer_goes_on(
    tmp_path: Path, options: Options, ids: Any, message: str
) -> None:
    with TokenStoreWriter(tmp_path / "s", **options) as writer:
        writer.add_document("train", [1], 1)
        with pytest.raises(DataError, match=message):
            writer.add_document("train", ids, 1)
        writer.add_document("train", [2], 1)
    split = TokenStore.open(tmp_path / "s").split("train")
    assert split.tokens(0, len(split)).tolist() == [1, 2]


@pytest.mark.parametrize("split", ["", "../up", "a/b", "a-b", ".hidden", "a" * 65])
def test_a_split_has_a_plain_name(tmp_path: Path, options: Options, split: str) -> None:
    writer = TokenStoreWriter(tmp_path / "s", **options)
    with pytest.raises(DataError, match="cannot be the name of a split"):
        writer.add_document(split, [1], 1)
    writer.abandon()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"vocab_size": 1 << 31}, "vocab_size"),
        ({"eos_id": 300}, "eos_id is 300, expected an id below vocab_size 300"),
        ({"pad_id": -1}, "pad_id"),
        ({"shard_tokens": 0}, "shard_tokens"),
        ({"tokenizer_json": "{"}, "tokenizer_json is not JSON"),
        ({"provenance": Provenance(options={"a": NOT_PLAIN})}, "provenance"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(
    tmp_path: Path, options: Options, changes: Options, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        TokenStoreWriter(tmp_path / "s", **(options | changes))
    assert not (tmp_path / "s").exists()


def test_a_store_without_documents_is_refused(tmp_path: Path, options: Options) -> None:
    with (
        pytest.raises(DataError, match="no document was added"),
        TokenStoreWriter(tmp_path / "s", **options),
    ):
        pass


# Going on after an interruption.


def test_an_interrupted_writer_goes_on_after_its_finished_shards(
    tmp_path: Path, options: Options
) -> None:
    options["shard_tokens"] = 10
    folder = tmp_path / "s"
    stop_after_one_shard(folder, options)
    assert not list(folder.glob("*.tmp"))
    with pytest.raises(DataError, match=r"no manifest\.json; .* run the same again"):
        TokenStore.open(folder)
    with TokenStoreWriter(folder, **options) as writer:
        assert writer.stored_documents("train") == 2
        assert writer.stored_documents("val") == 0
        writer.add_document("train", [4], 1)
    assert shard_contents(TokenStore.open(folder)) == [(10, 2), (1, 1)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer_json": "[]"}, "tokenizer.bytes was 12, now it is 2"),
        ({"vocab_size": 299}, "vocab_size was 300, now it is 299"),
        ({"pad_id": 0}, "pad_id was None, now it is 0"),
        ({"shard_tokens": 11}, "shard_tokens was 10, now it is 11"),
        (
            {"provenance": Provenance([{"path": "a.txt"}], {"seed": 1})},
            r"provenance.sources.0.path was None, now it is a.txt",
        ),
    ],
)
def test_going_on_with_other_arguments_is_refused_unless_told_to_begin_anew(
    tmp_path: Path, options: Options, changes: Options, message: str
) -> None:
    options["shard_tokens"] = 10
    folder = tmp_path / "s"
    stop_after_one_shard(folder, options)
    before = files_of(folder)
    with pytest.raises(DataError, match=f"was begun with other options: {message}; "):
        TokenStoreWriter(folder, **(options | changes))
    assert files_of(folder) == before
    with TokenStoreWriter(folder, **(options | changes), overwrite=True) as writer:
        assert writer.stored_documents("train") == 0
        writer.add_document("val", [1], 1)
    assert TokenStore.open(folder).split_names == ("val",)


def test_overwrite_does_not_throw_away_what_can_be_gone_on_with(
    tmp_path: Path, options: Options
) -> None:
    options["shard_tokens"] = 10
    stop_after_one_shard(tmp_path / "s", options)
    writer = TokenStoreWriter(tmp_path / "s", **options, overwrite=True)
    assert writer.stored_documents("train") == 2
    writer.abandon()


def test_a_finished_store_is_replaced_only_when_told(
    write_store: WriteStore, options: Options
) -> None:
    store = write_store({"train": [[1], [2]]}, shard_tokens=1)
    before = files_of(store.folder)
    with pytest.raises(DataError, match="holds a finished token store"):
        TokenStoreWriter(store.folder, **options)
    assert files_of(store.folder) == before
    replaced = write_store({"val": [[3]]}, overwrite=True)
    assert set(files_of(replaced.folder)) == {
        "manifest.json",
        "tokenizer.json",
        "val-00000.bin",
        "val-00000.idx",
    }


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path, options: Options) -> None:
    (tmp_path / "train-00000.bin").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="neither empty nor a token store"):
            TokenStoreWriter(tmp_path, **options, overwrite=overwrite)
    assert files_of(tmp_path) == {"train-00000.bin": b"mine"}


def test_a_line_of_the_journal_that_was_cut_short_is_done_again(
    tmp_path: Path, options: Options
) -> None:
    options["shard_tokens"] = 10
    stop_after_one_shard(tmp_path / "s", options)
    journal = tmp_path / "s" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    stop_after_one_shard(tmp_path / "s", options)
    with TokenStoreWriter(tmp_path / "s", **options) as writer:
        assert writer.stored_documents("train") == 2
        writer.add_document("train", [1], 1)
    assert shard_contents(TokenStore.open(tmp_path / "s")) == [(10, 2), (1, 1)]


def test_a_damaged_journal_is_named(tmp_path: Path, options: Options) -> None:
    options["shard_tokens"] = 10
    stop_after_one_shard(tmp_path / "s", options)
    journal = tmp_path / "s" / "journal.jsonl"
    for content in (b"", b"{}\n", journal.read_bytes().replace(b"train", b"../up")):
        journal.write_bytes(content)
        with pytest.raises(DataError, match=r"journal.jsonl` is damaged: .*overwrite=True"):
            TokenStoreWriter(tmp_path / "s", **options)


@pytest.mark.parametrize("change", ["missing", "short"])
def test_a_finished_shard_that_went_away_is_named(
    tmp_path: Path, options: Options, change: str
) -> None:
    options["shard_tokens"] = 10
    stop_after_one_shard(tmp_path / "s", options)
    shard = tmp_path / "s" / "train-00000.bin"
    shard.write_bytes(b"")
    if change == "missing":
        shard.unlink()
    with pytest.raises(DataError, match=r"train-00000.bin` was finished with 1044 bytes and now"):
        TokenStoreWriter(tmp_path / "s", **options)


# One writer at a time.


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path, options: Options) -> None:
    with TokenStoreWriter(tmp_path, **options) as writer:
        with pytest.raises(DataError, match=f"is being written by process {os.getpid()};"):
            TokenStoreWriter(tmp_path, **options)
        writer.add_document("train", [1], 1)
    assert len(TokenStore.open(tmp_path).split("train")) == 1


def test_the_lock_of_a_dead_writer_blocks_nobody(tmp_path: Path, options: Options) -> None:
    (tmp_path / "writer.lock").write_text("4194304")
    with TokenStoreWriter(tmp_path, **options) as writer:
        writer.add_document("train", [1], 1)
    assert not (tmp_path / "writer.lock").exists()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        (tmp_path / "writer.lock").unlink()  # the writer before us finishes
        monkeypatch.setattr(fcntl, "flock", flock)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    first = TokenStoreWriter(tmp_path, **options)
    with pytest.raises(DataError, match="is being written"):
        TokenStoreWriter(tmp_path, **options)
    first.abandon()


def test_a_closed_writer_takes_nothing(tmp_path: Path, options: Options) -> None:
    with TokenStoreWriter(tmp_path, **options) as writer:
        writer.add_document("train", [1], 1)
    with pytest.raises(DataError, match="is closed"):
        writer.add_document("train", [1], 1)
    with pytest.raises(DataError, match="is closed"):
        writer.finish()


@pytest.mark.parametrize("failure", [DataError("no room"), KeyboardInterrupt()])
def test_a_write_that_fails_closes_the_writer(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    options["shard_tokens"] = 10
    writer = TokenStoreWriter(tmp_path, **options)
    for _ in range(3):
        writer.add_document("train", [3] * 5, 5)
    with monkeypatch.context() as patch:
        patch.setattr(AtomicFile, "write", fail)
        with pytest.raises(type(failure)):
            writer.add_document("train", [4], 1)
    with pytest.raises(DataError, match="is closed; make a new one to go on"):
        writer.add_document("train", [4], 1)
    with TokenStoreWriter(tmp_path, **options) as again:
        again.add_document("train", [5], 1)
    assert shard_contents(TokenStore.open(tmp_path)) == [(10, 2), (1, 1)]


# What is on the disk, and when.


def test_a_file_is_durable_before_it_has_its_name(
    write_store: WriteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    renamed: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watch_fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def watch_replace(source: Path, target: Path) -> None:
        assert source.stat().st_ino in synced
        renamed.append(target.name)
        replace(source, target)
        synced.discard(target.parent.stat().st_ino)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "replace", watch_replace)
    store = write_store({"train": [[1], [2]]}, shard_tokens=1)
    assert store.folder.stat().st_ino in synced
    assert renamed[:2] == ["journal.jsonl", "tokenizer.json"]
    assert set(renamed[2:6]) == {f"train-0000{n}.{kind}" for n in (0, 1) for kind in ("bin", "idx")}
    assert renamed[6:] == ["manifest.json"]
