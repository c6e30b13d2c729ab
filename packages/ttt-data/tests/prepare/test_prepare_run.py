"""What a preparation leaves on the disk, and how it goes on after an interruption."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from ttt_config.errors import DataError, TokenizerError
from ttt_data import Tokenizer, batches
from ttt_data.prepare import Progress, prepare
from ttt_data.readers import open_source
from ttt_data.store import TokenStore, TokenStoreWriter, verify_store

BYTES = Tokenizer.load("bytes")
TEXTS = [f"number {number} {'aé' * (number % 7)}" for number in range(200)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_CHARACTERS", 300)


def write_rows(path: Path, texts: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def texts_of(folder: Path, split: str) -> list[str]:
    """The documents of a split as text; each must end with the end-of-text token."""
    tokens = TokenStore.open(folder).split(split)
    bounds = tokens.document_bounds.tolist()
    found: list[str] = []
    for start, stop in pairwise(bounds):
        *ids, last = tokens.tokens(start, stop).tolist()
        assert last == BYTES.eos_id
        found.append(BYTES.decode(ids))
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "texts.jsonl", TEXTS)


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Callable[..., Any]:
    """Prepare the texts, into shards of some twenty documents."""

    def call(folder: str = "store", *, path: Path = source, **options: Any) -> Any:
        names = ("on_bad", "val_fraction", "test_fraction")
        reading = {name: options.pop(name) for name in names if name in options}
        options = {"tokenizer": "bytes", "shard_tokens": 400, **options}
        return prepare([open_source(path, **reading)], tmp_path / folder, **options)

    return call


def stop_at_document(number: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.documents >= number:
            raise KeyboardInterrupt

    return stop


# What is written.


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_store_holds_the_documents_of_the_source_in_order(
    run: Callable[..., Any], source: Path, tmp_path: Path, split: Any
) -> None:
    result = run()
    documents = [document.text for document in open_source(source).documents(split)]
    assert texts_of(tmp_path / "store", split) == documents
    summary = result.splits[split]
    assert summary.documents == len(documents)
    assert summary.text_bytes == sum(len(text.encode()) for text in documents)
    assert summary.tokens == summary.text_bytes + summary.documents


def test_every_document_is_in_one_split(run: Callable[..., Any], tmp_path: Path) -> None:
    run()
    splits = [texts_of(tmp_path / "store", split) for split in ("train", "val", "test")]
    assert sorted(chain.from_iterable(splits)) == sorted(TEXTS)
    assert all(splits)


def test_the_result_describes_the_store(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run()
    store = TokenStore.open(tmp_path / "store")
    assert (result.folder, result.fingerprint) == (store.folder, store.fingerprint)
    assert result.splits["train"].shards == len(store.manifest.splits["train"].shards) > 5
    assert (result.kept_documents, result.problems) == (0, ())
    assert result.encoding_path == "table"
    assert Tokenizer.load(store.tokenizer_path) == BYTES
    assert verify_store(tmp_path / "store") == []


def test_any_number_of_workers_writes_the_same_bytes(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run("one", workers=1)
    run("two", workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_sources_follow_each_other(source: Path, tmp_path: Path) -> None:
    other = write_rows(tmp_path / "other.jsonl", [f"other {text}" for text in TEXTS])
    sources = [open_source(source), open_source(other)]
    prepare(sources, tmp_path / "both", tokenizer="bytes")
    expected = [document.text for source in sources for document in source.documents("val")]
    assert texts_of(tmp_path / "both", "val") == expected


def test_folders_named_for_the_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "source" / split).mkdir(parents=True)
        write_rows(tmp_path / "source" / split / "a.jsonl", [f"{split} {n}" for n in range(99)])
    source = open_source(tmp_path / "source", test_fraction=0)
    result = prepare([source], tmp_path / "store", tokenizer="bytes")
    assert set(result.splits) == {"train", "val", "test"}
    assert texts_of(tmp_path / "store", "test") == [f"test {number}" for number in range(99)]


def test_built_in_sources_can_be_prepared(tmp_path: Path) -> None:
    source = open_source("chronicles", num_documents=5, val_fraction=0.2, test_fraction=0)
    result = prepare([source], tmp_path / "store")
    assert {name: split.documents for name, split in result.splits.items()} == {
        "train": 5,
        "val": 1,
    }
    (origin,) = TokenStore.open(tmp_path / "store").manifest.provenance.sources
    assert origin["kind"] == origin["name"] == "chronicles"
    assert origin["fingerprint"] == source.fingerprint()
    assert origin["documents.train"] == 5


# What cannot be used.


def test_bad_documents_are_counted_once_with_an_example(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    write_rows(tmp_path / "texts.jsonl", [*TEXTS[:50], 17, *TEXTS[50:], None, " "])
    result = run(on_bad="skip")
    assert [str(problem) for problem in result.problems] == [
        "2 x text is not a string (first: texts.jsonl:51: `text` is 17, expected a string)",
        "1 x empty document (first: texts.jsonl:203: empty document)",
    ]
    assert sum(split.documents for split in result.splits.values()) == len(TEXTS)


def test_a_bad_document_stops_before_anything_long_and_can_be_skipped_afterwards(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    write_rows(tmp_path / "texts.jsonl", [*TEXTS, 17])
    with pytest.raises(DataError, match=r"texts\.jsonl:201: `text` is 17"):
        run()
    assert not list((tmp_path / "store").glob("train*"))
    run(on_bad="skip")
    run("at once", on_bad="skip")
    assert files_of(tmp_path / "store") == files_of(tmp_path / "at once")


def test_a_split_without_documents_is_an_error(run: Callable[..., Any], tmp_path: Path) -> None:
    write_rows(tmp_path / "texts.jsonl", TEXTS[:3])
    with pytest.raises(DataError, match="falls into the val split"):
        run()
    assert set(run(val_fraction=0, test_fraction=0, overwrite=True).splits) == {"train"}


def test_no_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no source was given"):
        prepare([], tmp_path / "store")


def test_a_tokenizer_without_end_of_text_is_refused_first(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    tokenizer = Tokenizer(Backend(models.BPE({"a": 0}, [])), "endless")
    with pytest.raises(TokenizerError, match="`endless` has no end-of-text token"):
        run(tokenizer=tokenizer)
    assert not (tmp_path / "store").exists()


# Interruptions.


@pytest.mark.parametrize("number", [1, 30, 110, 199])
def test_ctrl_c_leaves_a_state_to_go_on_from(
    run: Callable[..., Any], tmp_path: Path, number: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(progress=stop_at_document(number))
    with pytest.raises(DataError, match="not a finished token store"):
        TokenStore.open(tmp_path / "store")
    assert not list((tmp_path / "store").glob("*.tmp"))
    result = run()
    run("undisturbed")
    assert files_of(tmp_path / "store") == files_of(tmp_path / "undisturbed")
    assert (result.kept_documents > 0) == (number > 50)
    assert result.kept_documents < number + 30


def test_the_number_of_workers_may_change_in_between(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(workers=2, progress=stop_at_document(120))
    assert run(workers=1).kept_documents > 0
    run("undisturbed")
    assert files_of(tmp_path / "store") == files_of(tmp_path / "undisturbed")


def test_changed_text_is_no_continuation(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(progress=stop_at_document(120))
    write_rows(tmp_path / "texts.jsonl", [*TEXTS, "one more"])
    with pytest.raises(DataError, match=r"begun with other options: provenance\.sources\.0\."):
        run()
    assert run(overwrite=True).kept_documents == 0


def test_a_finished_store_is_replaced_on_demand_only(run: Callable[..., Any]) -> None:
    first = run()
    with pytest.raises(DataError, match="holds a finished token store"):
        run()
    assert run(overwrite=True).fingerprint == first.fingerprint


def test_two_preparations_of_one_folder_exclude_each_other(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    with TokenStoreWriter(tmp_path / "store", tokenizer_json="{}", vocab_size=3, eos_id=1) as other:
        with pytest.raises(DataError, match=f"is being written by process {os.getpid()}"):
            run()
        other.abandon()


# Size.


@pytest.mark.parametrize("suffix", [".jsonl", ".txt"])
def test_memory_does_not_grow_with_the_source(tmp_path: Path, suffix: str) -> None:
    def peak_bytes(num_documents: int) -> int:
        path = tmp_path / f"{num_documents}{suffix}"
        with path.open("w") as file:
            for number in range(num_documents):
                text = f"document {number} " * 500
                row = json.dumps({"text": text}) if suffix == ".jsonl" else f"{text}\n#"
                file.write(f"{row}\n")
        child = Path(__file__).with_name("prepare_child.py")
        command = [sys.executable, child, "memory", path, tmp_path / f"store {num_documents}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    small, large = peak_bytes(600), peak_bytes(3_000)
    assert (tmp_path / f"3000{suffix}").stat().st_size > 18_000_000
    assert large - small < 6_000_000
