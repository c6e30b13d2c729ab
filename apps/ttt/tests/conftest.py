from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ttt_cli.main import main

TINY = """
[model]
hidden_size = 32
num_layers = 2
num_heads = 2
intermediate_size = 48
max_seq_len = 32
[data]
tokenizer = "bytes"
documents = 4
[train]
steps = 4
batch_size = 4
eval_samples = 4
"""


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps; copy it to change it."""
    folder = tmp_path_factory.mktemp("runs")
    config, out = folder / "tiny.toml", folder / "trained"
    config.write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["train", "--config", str(config), "--out", str(out), "--quiet"])
    assert end.value.code == 0
    return out
