"""Writers that are killed or run out of room; the processes that die are in store_child.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from ttt_config.errors import DataError
from ttt_data.store import TokenStore, TokenStoreWriter, verify_store

CHILD = Path(__file__).with_name("store_child.py")


def child(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHILD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    result = child("write", folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_kill_9_at_random_moments_changes_no_byte(whole: Path, tmp_path: Path) -> None:
    result = child("killed-at-random", tmp_path, 15)
    assert result.returncode == 0, result.stderr
    for folder in tmp_path.iterdir():
        assert files_of(folder) == files_of(whole), folder.name
    assert verify_store(whole) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_kill_9_before_every_file_operation_changes_no_byte(
    tmp_path: Path, overwrite: bool
) -> None:
    result = child("killed-everywhere", tmp_path, *(["overwrite"] if overwrite else []))
    assert result.returncode == 0, result.stderr
    kills = int(result.stdout)
    assert kills > 30
    expected = files_of(tmp_path / str(kills + 1))  # the one that was left in peace
    assert verify_store(tmp_path / str(kills + 1)) == []
    for k in range(1, kills + 1):
        assert files_of(tmp_path / str(k)) == expected, f"killed before operation {k}"


def test_a_full_disk_keeps_the_finished_shards(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "limited"
    result = child("limited", folder, 8_000)  # less than the long document
    assert result.returncode == 1
    (message,) = result.stderr.splitlines()
    finished = len(list(folder.glob("*.bin")))
    assert finished > 3
    assert message.startswith(f"no room for `{folder}/train-000")
    assert "needs 11,024 bytes or more and " in message
    assert message.endswith(
        f"are free; make room, then run the same again ({finished} finished shards are kept)"
    )
    assert not list(folder.glob("*.tmp"))
    with pytest.raises(DataError, match="is not a finished token store"):
        TokenStore.open(folder)
    assert child("write", folder).returncode == 0
    assert files_of(folder) == files_of(whole)


def test_a_disk_that_fills_up_at_the_very_end_keeps_the_finished_shards(
    whole: Path, tmp_path: Path
) -> None:
    size = (whole / "manifest.json").stat().st_size
    assert max(path.stat().st_size for path in whole.glob("*-*")) < size
    folder = tmp_path / "limited"
    result = child("limited", folder, size - 1)
    assert result.returncode == 1
    assert "manifest.json`: File too large; it needs" in result.stderr
    assert not list(folder.glob("*.tmp"))
    assert child("write", folder).returncode == 0
    assert files_of(folder) == files_of(whole)


def test_a_writer_in_another_process_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from ttt_data.store import TokenStoreWriter as W\n"
        f"W({str(tmp_path)!r}, tokenizer_json='{{}}', vocab_size=9, eos_id=1)\n"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        options = {"tokenizer_json": "{}", "vocab_size": 9, "eos_id": 1}
        with pytest.raises(DataError, match=f"is being written by process {other.pid};"):
            TokenStoreWriter(tmp_path, **options)
        other.kill()
    with TokenStoreWriter(tmp_path, **options) as writer:
        writer.add_document("train", [1], 1)
    assert verify_store(tmp_path) == []
