import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_data.store import Problem, TokenStore, verify_store

WriteStore = Callable[..., TokenStore]

MIB = 1 << 20


@pytest.fixture
def folder(write_store: WriteStore) -> Path:
    return write_store({"train": [[5, 6, 1], [7, 8, 1]], "val": [[4]]}, shard_tokens=3).folder


def flip(path: Path, place: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))


def test_a_sound_store_has_no_problems(folder: Path) -> None:
    assert verify_store(folder) == []


def test_a_flipped_byte_anywhere_in_any_file_is_found(folder: Path) -> None:
    dice = random.Random(0)
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size
        places = {0, size - 1, *dice.sample(range(size), min(size, 100))}
        for place in places:
            bit = dice.randrange(8)
            flip(path, place, bit)
            problems = verify_store(folder)
            flip(path, place, bit)
            assert problems, (path.name, place)
            assert {problem.file for problem in problems} == {path.name}
    assert verify_store(folder) == []


def test_the_block_that_is_damaged_is_named(write_store: WriteStore) -> None:
    documents = [np.full(1000, 299, dtype=np.uint16)] * 2000  # 3.8 MiB of tokens
    folder = write_store({"train": documents}).folder
    assert verify_store(folder) == []
    path = folder / "train-00000.bin"
    size = path.stat().st_size
    dice = random.Random(1)
    for place in [1024, MIB - 1, MIB, size - 1, *(dice.randrange(1024, size) for _ in range(6))]:
        flip(path, place)
        problems = verify_store(folder)
        flip(path, place)
        blocks = [problem for problem in problems if "is not what was written" in problem.message]
        start = place // MIB * MIB
        assert [(block.file, block.start, block.stop) for block in blocks] == [
            ("train-00000.bin", start, min(start + MIB, size))
        ]


def test_a_changed_header_is_named_to_the_byte(folder: Path) -> None:
    flip(folder / "train-00001.bin", 80)
    expected = Problem("train-00001.bin", "header differs from what the manifest says", 80, 81)
    assert expected in verify_store(folder)
    assert str(expected) == (
        "train-00001.bin, bytes 80 to 80: header differs from what the manifest says"
    )


def test_an_id_outside_the_vocabulary_is_named_to_the_byte(folder: Path) -> None:
    path = folder / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:1026] + b"\x2c\x01" + path.read_bytes()[1028:])
    message = "token is 300, expected an id below 300"
    assert Problem("train-00000.bin", message, 1026, 1028) in verify_store(folder)


def test_borders_that_disagree_are_explained(folder: Path) -> None:
    flip(folder / "val-00000.idx", 34, bit=1)
    messages = [str(problem) for problem in verify_store(folder)]
    assert "val-00000.idx: its documents have 3 tokens, expected 1" in messages


def test_missing_cut_grown_and_extra_files_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    cut, grown = folder / "train-00000.bin", folder / "val-00000.idx"
    cut.write_bytes(cut.read_bytes()[:-2])
    grown.write_bytes(grown.read_bytes() + b"\0")
    (folder / "notes.txt").write_text("")
    assert [str(problem) for problem in verify_store(folder)] == [
        "tokenizer.json: is missing",
        "train-00000.bin: is cut short: 1028 bytes, expected 1030",
        "val-00000.idx: has grown: 63 bytes, expected 62",
        "notes.txt: is not part of the store",
    ]


def test_a_folder_without_a_manifest_is_one_problem(tmp_path: Path) -> None:
    (problem,) = verify_store(tmp_path)
    assert problem.file == "manifest.json"
    assert "is not a finished token store" in problem.message
