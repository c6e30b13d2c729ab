import gc
import io
import json
import re
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from ttt_config.errors import DataError
from ttt_data import chronicles
from ttt_data.readers import Provenance, Source, SourceDocument, open_source, provenance
from ttt_data.readers.provenance import record_file


def rows(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"story {n}"}) + "\n" for n in range(count)))
    return path


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def texts(source: Source, split: Any = None) -> list[str]:
    return [document.text for document in source.documents(split)]


def test_documents_are_streamed_not_collected(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 3)
    with path.open("a") as file:
        file.write("broken")
    stream = iter(open_source(path))
    assert [next(stream).text for _ in range(3)] == ["story 0", "story 1", "story 2"]
    with pytest.raises(DataError, match=r"^a.jsonl:4: not a JSON object"):
        next(stream)


def test_every_pass_has_problems_of_its_own(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 40)
    path.write_text(path.read_text() + "broken\n")
    source = open_source(path, on_bad="skip")
    first = source.documents("train")
    next(first)
    assert len(texts(source)) == 40
    list(first)
    assert source.problems.total == 1


def test_splits_of_a_file_do_not_overlap(tmp_path: Path) -> None:
    source = open_source(rows(tmp_path / "a.jsonl", 200), val_fraction=0.1, test_fraction=0.1)
    parts = [texts(source, split) for split in ("train", "val", "test")]
    assert sorted(chain(*parts)) == sorted(texts(source))
    assert all(parts)


def test_a_split_that_stays_empty_says_what_to_do(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 2)
    source = open_source(path, val_fraction=1e-9, test_fraction=0)
    message = (
        f"no document of `{path}` falls into the val split; give more documents, raise "
        "val_fraction or name files or folders train, val and test"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        texts(source, "val")
    with pytest.raises(DataError, match=r"has no test split: test_fraction is 0$"):
        texts(source, "test")


def test_a_source_without_documents_says_what_it_met(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" ")
    seen = "1 x empty document (first: a.txt: empty document)"
    with pytest.raises(DataError, match=f"^{re.escape(f'no document in `{path}` ({seen})')}$"):
        list(open_source(path))


def test_standard_input_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b"line\n" * 100)
    source = open_source("-")
    assert texts(source) == ["line\n" * 100]
    assert "".join(texts(source, split)[0] for split in ("train", "val", "test")) == "line\n" * 100
    assert source.provenance.files[0].name == "stdin"


def test_standard_input_can_have_other_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    give_stdin(monkeypatch, b'{"text": "a"}\n')
    assert list(open_source("-", format="jsonl")) == [SourceDocument("a", "stdin:1")]
    message = "^Parquet cannot be read from standard input; give the path of the file$"
    with pytest.raises(DataError, match=message):
        open_source("-", format="parquet")


def test_standard_input_leaves_no_file_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    give_stdin(monkeypatch, b"text")
    source = open_source("-")
    assert len(list(tmp_path.iterdir())) == 1
    del source
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_chronicles_have_splits_of_their_own() -> None:
    source = open_source("chronicles", num_documents=10, seed=3, val_fraction=0.2)
    assert texts(source, "train") == [
        document.text for document in chronicles.documents("train", 10, seed=3)
    ]
    assert texts(source, "val") == [
        document.text for document in chronicles.documents("val", 2, seed=3)
    ]
    origins = [document.origin for document in source]
    assert len(origins) == 13
    assert (origins[0], origins[-1]) == ("chronicles/train/3/0", "chronicles/test/3/0")
    assert source.problems.total == 0
    with pytest.raises(DataError, match=r"^num_documents must be 1 or more, got 0$"):
        open_source("chronicles", num_documents=0)


def test_chronicles_are_known_by_version_seed_knobs_and_count() -> None:
    facts = open_source("chronicles").provenance.facts
    assert facts["version"] == chronicles.CORPUS_VERSION
    assert facts["documents"] == {"train": 2000, "val": 100, "test": 100}
    prints = {
        source.fingerprint()
        for source in (
            open_source("chronicles"),
            open_source("chronicles", seed=1),
            open_source("chronicles", num_documents=1999),
            open_source("chronicles", knobs=chronicles.ChronicleKnobs(chapter_words=500)),
            open_source("chronicles", encoding="latin-1"),  # has no effect
        )
    }
    assert len(prints) == 4


def test_the_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    here, there = rows(tmp_path / "a.jsonl", 5), rows(tmp_path / "b.jsonl", 5)
    print_ = open_source(here).fingerprint()
    assert open_source(there).fingerprint() == print_
    assert open_source(here, on_bad="skip", encoding="UTF8").fingerprint() == print_
    assert open_source(here, text_field="body").fingerprint() != print_
    assert open_source(here, val_fraction=0.2).fingerprint() != print_
    rows(there, 6)
    assert open_source(there).fingerprint() != print_


def test_the_fingerprint_is_part_of_the_format() -> None:
    record = Provenance(kind="files", spec="x", facts={"b": 1, "a": None}, files=())
    assert record.fingerprint() == (
        "66bdd6939512ed648e30f99846584ba3fc99049aa99f6c39b5d239908c4b75f3"
    )


def test_provenance_records_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    [record] = open_source(path).provenance.files
    assert (record.name, record.bytes, record.sampled) == ("a.txt", 4, False)
    assert record.sha256 == "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"


def test_large_files_are_sampled_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "WHOLE_BYTES", 1 << 20)
    path = tmp_path / "a.txt"
    content = bytearray(3 << 20)
    path.write_bytes(content)
    before = record_file(path, "a")
    assert before.sampled
    for place in (0, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert record_file(path, "a") != before


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    source = open_source(rows(tmp_path / "a.jsonl", 1))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"^cannot read `.*a.jsonl`: No such file or directory$"):
        source.fingerprint()
