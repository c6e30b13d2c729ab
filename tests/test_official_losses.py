"""Training equals the official code's: the same weights, tokens and optimizer give its losses."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = json.loads((ROOT / "tests/golden/official_losses.json").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare", ROOT / "scripts/compare_official.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_fifty_losses_are_those_of_the_official_code(script: ModuleType, kind: str) -> None:
    ours = script.train_ours(kind)
    assert len(ours) == len(GOLDEN[kind]) == 50
    assert ours == pytest.approx(GOLDEN[kind], abs=script.TOLERANCE)
    assert ours[-1] < ours[0] - 1, "it learns, so that the optimizer is compared, too"
