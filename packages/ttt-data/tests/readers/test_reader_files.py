import os
import re
from pathlib import Path
from typing import Any

import pytest

from ttt_config.errors import DataError
from ttt_data.readers import SourceDocument, Split, open_source


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return folder


def origins(documents: Any) -> list[str]:
    return [document.origin for document in documents]


def test_a_folder_is_read_by_name_at_any_depth(tmp_path: Path) -> None:
    fill(tmp_path, "b.txt", "a/z.md", "a.txt", "c/d/e.TXT", "table.csv", "LICENSE")
    fill(tmp_path, ".hidden/x.txt", ".y.txt", "z.txt.part", "hub.lock")
    source = open_source(tmp_path)
    assert origins(source) == ["a.txt", "a/z.md", "b.txt", "c/d/e.TXT"]
    assert source.problems.count("file not read") == 2
    assert str(source.problems).startswith("2 x file not read (first: LICENSE: no text file")


def test_a_pattern_is_read_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "b.txt", "a.txt", "c/a.txt", "c/b.md", ".h.txt")
    assert origins(open_source(f"{tmp_path}/*.txt")) == ["a.txt", "b.txt"]
    assert origins(open_source(f"{tmp_path}/**/a.*")) == ["a.txt", "c/a.txt"]


def test_a_relative_pattern_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, "b.txt", "c/a.txt"))
    assert origins(open_source("**/*.txt")) == ["b.txt", "c/a.txt"]


def test_a_file_with_the_name_of_a_pattern_is_a_file(tmp_path: Path) -> None:
    fill(tmp_path, "a[1].txt", "a1.txt")
    assert list(open_source(tmp_path / "a[1].txt")) == [
        SourceDocument("text of a[1].txt", "a[1].txt")
    ]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (
            {"train.txt": "train", "val.txt": "val", "test.txt": "test"},
            {"train", "val", "test"},
        ),
        (
            {"train/a.txt": "train", "validation/a.txt": "val", "Test/b.md": "test"},
            {"train", "val", "test"},
        ),
        (
            {
                "data/train-00000-of-00002.txt": "train",
                "data/train-00001-of-00002.txt": "train",
                "data/validation-00000-of-00001-869c.txt": "val",
            },
            {"train", "val"},
        ),
        ({"TinyStories-train.txt": "train", "TinyStories-valid.txt": "val"}, {"train", "val"}),
        ({"x_train_000001.txt": "train", "x_val_000000.txt": "val"}, {"train", "val"}),
        ({"train/test-1.txt": "train", "val.txt": "val"}, {"train", "val"}),
    ],
)
def test_names_decide_the_splits(
    tmp_path: Path, names: dict[str, Split], splits: set[Split]
) -> None:
    source = open_source(fill(tmp_path, *names), val_fraction=0, test_fraction=0)
    for split in splits:
        expected = sorted(name for name, of in names.items() if of == split)
        assert origins(source.documents(split)) == expected
    assert origins(source) == sorted(names)


def test_a_split_without_files_is_held_out_of_training(tmp_path: Path) -> None:
    names = [f"train/{n:02}.txt" for n in range(40)]
    source = open_source(fill(tmp_path, "val.txt", *names), val_fraction=0.5, test_fraction=0.25)
    assert origins(source.documents("val")) == ["val.txt"]
    train, test = origins(source.documents("train")), origins(source.documents("test"))
    assert sorted(train + test) == names
    assert len(train) > len(test) > 0


def test_files_outside_the_splits_are_reported(tmp_path: Path) -> None:
    source = open_source(fill(tmp_path, "train.txt", "val.txt", "README.md"), test_fraction=0)
    assert origins(source.documents("train")) == ["train.txt"]
    assert source.problems.count("file not read") == 1
    assert origins(source) == ["train.txt", "val.txt"]


@pytest.mark.parametrize(
    "names",
    [["training.txt", "validate.txt"], ["test.txt", "b.txt"], ["train-a.txt", "test_suite.txt"]],
)
def test_other_names_do_not_decide(tmp_path: Path, names: list[str]) -> None:
    source = open_source(fill(tmp_path, *names))
    assert origins(source) == sorted(names)
    assert source.provenance.facts["splits"] == [None, None]


def test_names_that_are_not_utf8_are_shown_as_escapes(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt")
    try:
        (tmp_path / os.fsdecode(b"\xff.txt")).write_text("b")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    source = open_source(tmp_path)
    assert origins(source) == ["\\udcff.txt", "a.txt"]
    assert len(source.fingerprint()) == 64


def test_a_name_of_two_lines_makes_a_message_of_one(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.jsonl"
    path.write_text("x")
    source = open_source(path)
    with pytest.raises(DataError, match=r"^a\\nb.jsonl:1: not a JSON object: .+$"):
        list(source)
    path.unlink()
    with pytest.raises(DataError, match=r"^cannot read `.*/a\\nb.jsonl`: No such file"):
        list(source)


def test_a_broken_link_is_reported(tmp_path: Path) -> None:
    (fill(tmp_path, "a.txt") / "b.txt").symlink_to("nowhere")
    source = open_source(tmp_path)
    assert origins(source) == ["a.txt"]
    assert source.problems.count("file not read") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", "b/c.txt")
    (tmp_path / "b").chmod(0)
    with pytest.raises(DataError, match=r"^cannot read the folder `.*b`: Permission denied$"):
        open_source(tmp_path)


EXPECTED = "a .txt, .md, .jsonl (each also .gz or .zst) or .parquet file"


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv", "empty/b.csv")
    general = (
        "expected chronicles, stdlib, -, hf://owner/repo, or the path of a text, JSON lines or "
        "Parquet file, of a folder, or a pattern"
    )
    messages = {
        f"{tmp_path}/a.csv": (
            f"cannot read `{tmp_path}/a.csv`: expected {EXPECTED}, or a format to read it as"
        ),
        f"{tmp_path}/empty": (
            f"nothing to read in the folder `{tmp_path}/empty` or below it: expected {EXPECTED}"
        ),
        f"{tmp_path}/*.txt": (
            f"no file matches `{tmp_path}/*.txt` that can be read: expected {EXPECTED}"
        ),
        f"{tmp_path}/a.txt": f"no such data source: '{tmp_path}/a.txt'; {general}",
        "cronicles": f"no such data source: 'cronicles'; {general}; did you mean `chronicles`?",
        "": f"no such data source: ''; {general}",
        "a\0b": f"no such data source: 'a\\x00b'; {general}",
        "x" * 999: f"cannot read '{'x' * 200}'...: File name too long",
    }
    for spec, message in messages.items():
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            open_source(spec)


def test_a_format_can_be_given_where_the_name_does_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text('{"text": "a"}')
    assert list(open_source(path, format="jsonl")) == [SourceDocument("a", "rows:1")]
