"""Training on an accelerator: `make gpu` runs this, and the default run leaves it out."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from ttt_config import RunConfig
from ttt_training import train, verify_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),  # a test compiles what it runs
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator"),
]


def hashes(out: Path) -> dict[str, str]:
    """Of the files of the last checkpoint."""
    manifest = verify_checkpoint(out / "checkpoints" / "step-000006")
    return {name: entry.sha256 for name, entry in manifest.files.items()}


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("layer_type", ["linear", "mlp"])
def test_a_run_that_is_resumed_is_the_run_that_was_not(
    tiny: Callable[..., RunConfig], tmp_path: Path, layer_type: str, dtype: str
) -> None:
    values = {"layer_type": layer_type, "dtype": dtype, "save_every": 3}
    whole = tiny(tmp_path / "whole", **values)
    train(whole)
    half = msgspec.structs.replace(whole, out=str(tmp_path / "half"))
    train(half)
    expected = hashes(tmp_path / "whole")
    assert hashes(tmp_path / "half") == expected
    train(half, resume=str(tmp_path / "half" / "checkpoints" / "step-000003"))
    assert hashes(tmp_path / "half") == expected
    lines = (tmp_path / "half" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 6
