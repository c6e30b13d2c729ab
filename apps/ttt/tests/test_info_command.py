import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def sections(shown: str) -> dict[str, dict[str, str]]:
    """What is printed, by the first word of a section and the name of a row."""
    found: dict[str, dict[str, str]] = {}
    for block in shown.strip().split("\n\n"):
        title, *rows = block.splitlines()
        pairs = [row.strip().split("  ", 1) for row in rows]
        found[title.split()[0]] = {name: "".join(rest).strip() for name, *rest in pairs}
    return found


def test_info_shows_what_a_run_is_and_how_far_it_has_come(ttt: Callable, run: Path) -> None:
    code, shown, err = ttt("info", str(run))
    assert (code, err) == (0, "")
    found = sections(shown)
    assert list(found) == ["run", "model", "training", "data", "progress", "metrics"]
    assert found["model"]["layer type"] == "linear"
    assert found["model"]["max length"] == "32 tokens"
    assert found["training"]["accumulation"] == "1, in all 128 tokens a step"
    assert found["training"]["lr"] == "3.00e-03"
    assert found["data"]["tokenizer"] == "bytes"
    assert found["progress"]["steps"].startswith("[" + 30 * "#" + "] 4 / 4, 0.")
    assert found["progress"]["newest"].startswith("step-000004, ")
    assert found["progress"]["newest"].endswith(", whole")
    assert found["progress"]["state"] == "finished"
    assert found["metrics"]["training"].startswith("step 4: loss 5.")
    assert " +- " in found["metrics"]["validation"]
    assert re.search(
        r" bits/byte, inner loss \d+\.\d\d -> \d+\.\d\d$", found["metrics"]["validation"]
    )


def test_verbose_adds_all_evaluations_and_checkpoints(ttt: Callable, run: Path) -> None:
    shown = ttt("info", str(run), "-v").out
    found = sections(shown)
    assert list(found)[-2:] == ["evaluations", "checkpoints"]
    assert list(found["evaluations"]) == ["step 4"]
    assert list(found["checkpoints"]) == ["step-000004"]
    facts = json.loads(ttt("info", str(run), "--json", "--verbose").out)
    assert [each["problem"] for each in facts["checkpoints"]] == [None]
    assert facts["evaluations"][0]["loss"] == facts["newest_validation"]["loss"]
    assert facts["progress"]["state"] == "finished"
    assert json.loads(ttt("info", str(run), "--json").out)["checkpoints"] is None


def test_a_run_that_only_began_or_was_killed_says_so(ttt: Callable, run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    for name in ("metrics.jsonl", "events.jsonl"):
        (run / name).unlink()
    found = sections(ttt("info", str(run), "--verbose").out)
    assert found["progress"] == {
        "steps": "[" + 30 * "-" + "] 0 / 4",
        "newest": "no checkpoint yet",
        "best": "no checkpoint was evaluated",
        "state": "not ended: it is running, or was killed (no record yet)",
    }
    assert found["metrics"] == dict.fromkeys(("training", "validation"), "nothing logged yet")
    assert found["model"]["parameters"] == "not known yet"
    assert (found["evaluations"], found["checkpoints"]) == ({"none": ""}, {"none": ""})
    (run / "metrics.jsonl").write_text('{"event":"step","step":2,"loss":null}\n{"event":"st')
    (run / "events.jsonl").write_text('{"event":"stop","step":2,"signal":"SIGTERM"}\n')
    found = sections(ttt("info", str(run)).out)
    assert found["progress"]["steps"] == "[" + 15 * "#" + 15 * "-" + "] 2 / 4"
    assert found["progress"]["state"] == (
        f"stopped by SIGTERM; go on with `ttt train --resume {run}`"
    )
    assert found["metrics"]["training"] == "step 2: loss not finite, perplexity not finite"


def test_a_damaged_checkpoint_is_called_so(ttt: Callable, run: Path) -> None:
    (run / "checkpoints/step-000004/loader.json").unlink()
    code, shown, _ = ttt("info", str(run))
    assert code == 0
    assert "DAMAGED: " in sections(shown)["progress"]["newest"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "no run directory"),
        (".", "is not a run directory"),
        ("file", "no run directory"),
    ],
)
def test_what_is_no_run_is_one_line(
    ttt: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    code, shown, err = ttt("info", path)
    assert (code, shown) == (5, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_damaged_file_is_one_line(ttt: Callable, run: Path) -> None:
    (run / "metrics.jsonl").write_text("{}\n{}\n")
    code, _, err = ttt("info", str(run))
    assert code == 5
    assert "metrics.jsonl line 1 is damaged: " in err
    (run / "config.toml").write_text("[model\n")
    code, _, err = ttt("info", str(run))
    assert code == 3
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are Unicode")
def test_a_name_that_is_not_utf_8_is_no_obstacle(ttt: Callable, run: Path, tmp_path: Path) -> None:
    odd = run.rename(tmp_path / os.fsdecode(b"odd\xff"))
    for command in (("info",), ("ckpt", "ls"), ("export-metrics", "-o", str(tmp_path / "m.csv"))):
        code, shown, _ = ttt(*command, str(odd), "--json")
        assert code == 0
        assert "odd\\udcff" in shown
    assert b"\nodd\xff,1,1,1," in (tmp_path / "m_train.csv").read_bytes()
