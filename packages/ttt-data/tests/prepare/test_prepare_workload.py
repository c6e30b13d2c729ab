"""Which passes there are and how long they are expected to be."""

import gzip
from pathlib import Path

import pytest

from ttt_config.errors import DataError
from ttt_data.prepare import workload
from ttt_data.prepare.workload import Estimate, Pass, check_documents, plan_passes
from ttt_data.readers import Provenance, open_source
from ttt_data.readers.source import StdlibSource


def plan(*sources: object, **options: float) -> list[tuple[int, str, float]]:
    opened = [open_source(str(source), **options) for source in sources]  # type: ignore[arg-type]
    return [(each.source, each.split, each.weight) for each in plan_passes(opened)]


def test_held_out_splits_come_first_and_share_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 1000)
    assert plan(tmp_path / "a.txt", val_fraction=0.1, test_fraction=0.2) == [
        (0, "val", 100),
        (0, "test", 200),
        (0, "train", 700),
    ]
    assert plan(tmp_path / "a.txt", val_fraction=0, test_fraction=0) == [(0, "train", 1000)]


def test_sources_alternate_within_a_split(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("x" * 1000)
    passes = plan(tmp_path / "a.txt", tmp_path / "b.txt", val_fraction=0.1, test_fraction=0)
    assert [each[:2] for each in passes] == [(0, "val"), (1, "val"), (0, "train"), (1, "train")]


def test_files_named_for_a_split_are_all_of_it(tmp_path: Path) -> None:
    for name, size in {"train": 1000, "val": 300, "unnamed": 50}.items():
        (tmp_path / f"{name}.txt").write_text("x" * size)
    assert plan(tmp_path, val_fraction=0.1, test_fraction=0.2) == [
        (0, "val", 300),
        (0, "test", 200),
        (0, "train", 800),
    ]


def test_chronicles_are_counted_in_documents() -> None:
    assert plan("chronicles", val_fraction=0.05, test_fraction=0) == [
        (0, "val", 100),
        (0, "train", 2000),
    ]


def test_a_source_without_files_is_divided_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, object] = {"fractions": {"val": 0.25, "test": 0}}
    provenance = Provenance(kind="stdlib", spec="stdlib", facts=facts)
    monkeypatch.setattr(StdlibSource, "provenance", provenance)  # it would take seconds
    assert plan("stdlib") == [(0, "val", 0.25), (0, "train", 0.75)]


def test_a_finished_pass_tells_how_long_the_others_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 1000)
    sources = [open_source(tmp_path / "a.txt")]
    estimate = Estimate(sources, [Pass(0, "val", 100), Pass(0, "train", 900)])
    assert estimate.total_bytes == 1000, "a guess: every byte is text"
    estimate.finish(50)
    assert estimate.total_bytes == 500
    estimate.finish(600)
    assert estimate.total_bytes == 650


@pytest.mark.parametrize("source", ["chronicles", "packed"])
def test_nothing_is_said_of_what_nothing_is_known(tmp_path: Path, source: str) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"x" * 1000))
    spec = str(tmp_path / "a.txt.gz") if source == "packed" else source
    estimate = Estimate([open_source(spec)], [Pass(0, "val", 10), Pass(0, "train", 90)])
    assert estimate.total_bytes is None
    estimate.finish(7)
    assert estimate.total_bytes == 70


def test_a_huge_text_file_needs_a_separator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workload, "MAX_DOCUMENT_BYTES", 999)
    (tmp_path / "a.txt").write_text("x" * 1000)
    (tmp_path / "a.jsonl").write_text("x" * 1000)
    with pytest.raises(DataError, match=r"`a\.txt` would be one document of 1,000 bytes, expected"):
        check_documents(open_source(tmp_path / "a.txt"))
    check_documents(open_source(tmp_path / "a.txt", separator="|"))
    check_documents(open_source(tmp_path / "a.jsonl"))
    check_documents(open_source("chronicles"))
