"""Worker processes: order, read-ahead, and what happens when one of them or the parent dies."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ttt_config.errors import DataError
from ttt_data import Tokenizer
from ttt_data.batches import BATCH_CHARACTERS, batches
from ttt_data.encoding import Encoder
from ttt_data.prepare.pool import EncodingPool

BYTES = Tokenizer.load("bytes")
ENCODER = Encoder(BYTES, fast=True)


@pytest.fixture(scope="module")
def two() -> Iterator[EncodingPool]:
    with EncodingPool(ENCODER, 2) as pool:
        yield pool


def texts_in(tokens: object) -> list[str]:
    return BYTES.decode(tokens, skip_special=False).split("<eos>")[:-1]  # type: ignore[arg-type]


def test_results_come_in_the_order_of_the_batches(two: EncodingPool) -> None:
    given = [[f"{number}", "x" * (5000 * (number % 3))] for number in range(40)]
    found = [texts_in(batch.tokens) for batch in two.encode(given)]
    assert found == given


def test_every_document_has_its_place_in_the_batch(two: EncodingPool) -> None:
    texts = ["one", "", "drei \u00e9"]
    (batch,) = two.encode([texts])
    assert batch.tokens.dtype == "uint16"
    assert [texts_in(tokens) for tokens, _ in batch.documents()] == [[text] for text in texts]
    assert [text_bytes for _, text_bytes in batch.documents()] == [3, 0, 7]


def test_only_a_few_batches_are_read_ahead(two: EncodingPool) -> None:
    taken: list[str] = []

    def counted() -> Iterator[list[str]]:
        for number in range(20):
            taken.append(f"{number}")
            yield [f"{number}"]

    received = 0
    for _ in two.encode(counted()):
        received += 1
        assert len(taken) - received <= 2
    assert received == 20


def test_one_worker_is_this_process() -> None:
    before = multiprocessing.active_children()
    with EncodingPool(ENCODER, 1) as pool:
        assert [texts_in(batch.tokens) for batch in pool.encode([["a"], ["b", "c"]])] == [
            ["a"],
            ["b", "c"],
        ]
        assert multiprocessing.active_children() == before


def test_no_worker_is_an_error() -> None:
    with pytest.raises(DataError, match="workers must be 1 or more, got 0"):
        EncodingPool(ENCODER, 0)


def test_a_worker_that_dies_is_reported() -> None:
    others = set(multiprocessing.active_children())
    with EncodingPool(ENCODER, 2) as pool:
        list(pool.encode([["text"]] * 2))
        victim = (set(multiprocessing.active_children()) - others).pop()
        victim.kill()
        with pytest.raises(DataError, match="a worker process died: killed for lack of memory"):
            list(pool.encode([["text"]] * 4))
    assert set(multiprocessing.active_children()) == others


def test_an_error_in_a_worker_is_raised_here(two: EncodingPool) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        list(two.encode([["\ud800"]]))
    assert len(list(two.encode([["text"]]))) == 1


def test_a_script_without_its_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "text.txt").write_text("some words\n" * 100)
    script.write_text(
        "from ttt_data.prepare import prepare\n"
        "from ttt_data.readers import open_source\n"
        "prepare([open_source('text.txt')], 'store', workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("some words\n" * 100)
    child = Path(__file__).with_name("prepare_child.py")
    command = [sys.executable, child, "wait", tmp_path / "text.txt", tmp_path / "store"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = list(map(int, parent.stdout.readline().split()))
        parent.kill()
    assert workers
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s and any(map(is_running, workers)):
        time.sleep(0.02)
    assert not any(map(is_running, workers))


def is_running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return not is_zombie(pid)
    return False


def is_zombie(pid: int) -> bool:
    """Whether it has ended and only its new parent has not noticed yet, as in a container."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def test_batches_hold_all_texts_and_little_more_than_they_should() -> None:
    texts = ["a" * (BATCH_CHARACTERS // 3)] * 7 + ["b" * (2 * BATCH_CHARACTERS)] + ["c"]
    found = list(batches(iter(texts)))
    assert [len(batch) for batch in found] == [4, 4, 1]
    assert [text for batch in found for text in batch] == texts
