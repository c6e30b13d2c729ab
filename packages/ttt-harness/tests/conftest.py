import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness_bench import PATIENCE_S, Bench

from ttt_harness.main import main
from ttt_harness.process import identify


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()
    for path in tmp_path.glob("*/pid"):  # nothing outlives a test
        if identify(int(path.read_text())) is not None:
            os.killpg(int(path.read_text()), 9)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for something that another process does."""

    def wait(condition: Callable[[], object]) -> None:
        begun_s = time.monotonic()
        while not condition():
            assert time.monotonic() - begun_s < PATIENCE_S
            time.sleep(0.01)

    return wait


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Run `ttt-harness` with some arguments in this process: exit code, stdout, stderr."""

    def run(*args: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(args)
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return run
