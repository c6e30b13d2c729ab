import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config import resolve
from ttt_training import train

SHAPE = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "seq_len": 16}
BRIEF = {"steps": 8, "batch_size": 2, "documents": 2, "tokenizer": "bytes", "eval_samples": 4}
SAVES = {"save_every": 2, "eval_every": 2, "keep_last": 9}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(resolve(("test", {**SHAPE, **BRIEF, **SAVES, "out": str(out)})).config)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def test_ls_shows_every_checkpoint_and_what_is_wrong_with_it(ttt: Callable, run: Path) -> None:
    damage(run / "checkpoints/step-000004/optim.safetensors")
    code, shown, _ = ttt("ckpt", "ls", str(run))
    rows = dict(line.split("  ", 1) for line in shown.splitlines())
    assert code == 0
    assert list(rows) == [f"step-00000{step}" for step in (2, 4, 6, 8)]
    assert rows["step-000002"].endswith(", whole")
    assert "val loss" in rows["step-000008"]
    assert "DAMAGED: " in rows["step-000004"]
    assert "optim.safetensors is damaged: sha256" in rows["step-000004"]
    facts = json.loads(ttt("ckpt", "ls", str(run), "--json").out)
    assert [each["problem"] is None for each in facts] == [True, False, True, True]


def test_verify_names_the_damaged_file_and_fails(ttt: Callable, run: Path) -> None:
    code, shown, err = ttt("ckpt", "verify", str(run))
    assert (code, err) == (0, "")
    assert shown.startswith("every byte is as it was written: step-000002, ")
    (run / "checkpoints/step-000002/loader.json").unlink()
    damage(run / "checkpoints/step-000006/model.safetensors")
    code, _, err = ttt("ckpt", "verify", str(run))
    assert code == 5
    assert "step-000002/loader.json is missing; the manifest lists it (and 1 more)" in err
    one = ttt("ckpt", "verify", str(run / "checkpoints/step-000006"))
    assert one.code == 5
    assert "step-000006/model.safetensors is damaged" in one.err
    assert ttt("ckpt", "verify", str(run / "checkpoints/step-000008")).code == 0


def test_prune_keeps_the_newest_the_best_and_what_it_cannot_read(ttt: Callable, run: Path) -> None:
    losses = {
        each["step"]: each["val_loss"]
        for each in json.loads(ttt("ckpt", "ls", str(run), "--json").out)
    }
    best = min(losses, key=lambda step: losses[step])
    (run / "checkpoints/step-000004/manifest.json").write_text("{}")
    planned = ttt("ckpt", "prune", str(run), "--keep-last", "1", "--dry-run").out
    assert len(names(run)) == 4
    done = ttt("ckpt", "prune", str(run), "--keep-last", "1").out
    assert planned.replace("would remove", "removed") == done
    kept = {8, 4, best}
    assert names(run) == [f"step-{step:06d}" for step in sorted(kept)]


def test_prune_keeps_those_of_every_so_many_steps(ttt: Callable, run: Path) -> None:
    ttt("ckpt", "prune", str(run), "--keep-last", "1", "--keep-every", "4")
    assert {"step-000004", "step-000008"} <= set(names(run))
    assert "step-000006" not in names(run) or len(names(run)) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ls", "nowhere"), 5, "no run directory"),
        (("verify", "."), 5, "is not a run directory"),
        (("prune", ".", "--keep-last", "0"), 3, "--keep-last is 0, expected 1 or more"),
    ],
)
def test_what_is_no_run_is_one_line(
    ttt: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ttt("ckpt", *arguments)
    assert result.code == code
    assert message in result.err
    assert len(result.err.splitlines()) == 1
