from collections.abc import Callable
from typing import NamedTuple

import pytest

from ttt_cli.main import main


class Outcome(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def ttt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `ttt` with some arguments in this process."""

    def run(*args: str) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main(args)
        return Outcome(caught.value.code, *capsys.readouterr())

    return run
