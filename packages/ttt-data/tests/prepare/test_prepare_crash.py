"""Preparations that are killed or run out of room; the processes that die: prepare_child.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ttt_data import chronicles
from ttt_data.store import verify_store

CHILD = Path(__file__).with_name("prepare_child.py")


def child(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHILD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("source") / "stories.jsonl"
    texts = [story.text for story in chronicles.documents("val", 60)]
    texts.insert(50, "long " * 40_000)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    result = child("prepare", source, folder, 1)
    assert result.returncode == 0, result.stderr
    assert len(list(folder.glob("train-*.bin"))) > 10
    return files_of(folder)


@pytest.mark.parametrize(
    ("workers", "kills"),
    [
        (1, 10),
        pytest.param(1, 50, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param(2, 50, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_kill_9_at_random_moments_changes_no_byte(
    workers: int, kills: int, source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    result = child("killed", source, tmp_path / "killed", workers, kills)
    assert result.returncode == 0, result.stderr
    shards_found = set(map(int, result.stdout.split())) - {-1}
    assert len(shards_found) >= 3, "too few kills found the preparation at work"
    assert files_of(tmp_path / "killed") == whole
    assert verify_store(tmp_path / "killed") == []


def test_a_full_disk_keeps_the_finished_shards(
    source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "limited"
    result = child("limited", source, folder, 300_000)  # less than the long document
    assert result.returncode == 1
    (message,) = result.stderr.splitlines()
    finished = len(list(folder.glob("*.bin")))
    assert finished > 10
    assert message.startswith(f"no room for `{folder}/train-000")
    assert message.endswith(f"then run the same again ({finished} finished shards are kept)")
    assert child("prepare", source, folder, 1).returncode == 0
    assert files_of(folder) == whole
