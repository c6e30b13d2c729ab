"""Reading documents and holding some out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_config.errors import DataError
from ttt_data import chronicles
from ttt_data.sources import _cut, read_texts


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def test_chronicles_come_from_their_own_splits() -> None:
    texts = read_texts("chronicles", num_documents=21, val_fraction=0.1, seed=3)
    assert texts.train == [doc.text for doc in chronicles.documents("train", 21, seed=3)]
    assert texts.val == [doc.text for doc in chronicles.documents("val", 3, seed=3)]


def test_one_file_is_cut_near_its_end_between_lines(tmp_path: Path) -> None:
    lines = [f"line {number}\n" for number in range(1000)]
    write(tmp_path, {"book.txt": "".join(lines)})
    texts = read_texts(tmp_path / "book.txt", val_fraction=0.1)
    assert len(texts.train) == len(texts.val) == 1
    assert texts.train[0] + texts.val[0] == "".join(lines)
    assert texts.val[0].startswith("line ")
    assert 90 <= texts.val[0].count("\n") <= 110


@given(
    text=st.text(st.sampled_from("ab \n"), min_size=2).filter(lambda text: len(text.split()) > 1),
    val_fraction=st.floats(0.01, 0.9),
)
def test_a_cut_loses_nothing_and_leaves_two_texts(text: str, val_fraction: float) -> None:
    try:
        texts = _cut(text, Path("x.txt"), val_fraction)
    except DataError:
        return
    assert texts.train[0] + texts.val[0] == text
    assert texts.train[0].strip()
    assert texts.val[0].strip()


def test_one_long_line_is_cut_between_words(tmp_path: Path) -> None:
    write(tmp_path, {"line.txt": "word " * 1000})
    texts = read_texts(tmp_path / "line.txt", val_fraction=0.05)
    assert texts.val[0].startswith("word ")
    assert len(texts.val[0]) == pytest.approx(250, abs=10)


@pytest.mark.parametrize("names", [("train.txt", "val.txt"), ("train/a/1.txt", "val/b.txt")])
def test_a_folder_may_name_its_splits(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path, {names[0]: "to train on", names[1]: "to hold out"})
    texts = read_texts(tmp_path)
    assert (texts.train, texts.val) == (["to train on"], ["to hold out"])


def test_other_folders_hold_out_whole_files(tmp_path: Path) -> None:
    names = [f"{chapter}/{part}.txt" for chapter in "abc" for part in range(10)]
    write(tmp_path, {name: name for name in names})
    texts = read_texts(tmp_path, val_fraction=0.1)
    assert len(texts.val) == 3
    assert sorted(texts.train + texts.val) == names
    assert texts.train == sorted(texts.train)
    assert read_texts(tmp_path, val_fraction=0.1) == texts


def test_a_file_added_later_moves_few_others(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.txt": f"{number}" for number in range(40)})
    before = set(read_texts(tmp_path, val_fraction=0.2).val)
    write(tmp_path, {"new.txt": "new"})
    assert len(before - set(read_texts(tmp_path, val_fraction=0.2).val)) <= 1


def test_a_folder_with_one_file_is_cut_like_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"deep/only.txt": "some words\n" * 100})
    texts = read_texts(tmp_path)
    assert texts == read_texts(tmp_path / "deep" / "only.txt")
    assert texts.train[0] + texts.val[0] == "some words\n" * 100


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbf" + b"one two\n" * 10)
    assert read_texts(tmp_path / "bom.txt").train[0].startswith("one")


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ({}, "absent.txt", r"no such data source: `.*absent\.txt`; expected chronicles, a \.txt"),
        ({}, ".", r"no \.txt file in the folder"),
        ({"a.md": "text"}, ".", r"no \.txt file in the folder"),
        (
            {"a.jsonl": "{}"},
            "a.jsonl",
            r"cannot read `.*a\.jsonl`: expected a \.txt file, got `\.jsonl`",
        ),
        ({"a.txt": ""}, "a.txt", r"a\.txt` is empty"),
        ({"a.txt": " \n"}, ".", r"a\.txt` is empty"),
        ({"a.txt": "x"}, "a.txt", r"too short to be split"),
    ],
)
def test_unusable_sources_are_named(
    tmp_path: Path, files: dict[str, str], source: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_texts(write(tmp_path, files) / source)


def test_text_that_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 noir")
    with pytest.raises(DataError, match=r"latin\.txt` is not UTF-8: .* at byte 3"):
        read_texts(tmp_path)


@pytest.mark.parametrize("val_fraction", [0.0, 1.0, -1.0])
def test_an_impossible_fraction_is_refused(val_fraction: float) -> None:
    with pytest.raises(DataError, match="val_fraction must lie between 0 and 1"):
        read_texts("chronicles", val_fraction=val_fraction)


def test_no_documents_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="num_documents must be 1 or more, got 0"):
        read_texts("chronicles", num_documents=0)
