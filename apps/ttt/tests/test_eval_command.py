import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config import resolve
from ttt_training import train

SHAPE = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "seq_len": 32}
BRIEF = {"steps": 4, "batch_size": 4, "documents": 4, "tokenizer": "bytes", "eval_samples": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train(resolve(("test", {**SHAPE, **BRIEF, "save_every": 2, "out": str(out)})).config)
    return out


def test_a_report_for_people_has_a_line_for_every_figure(ttt: Callable, run: Path) -> None:
    code, shown, err = ttt("eval", str(run), "--samples", "6")
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in shown.splitlines())
    assert rows["checkpoint"].endswith("step-000004")
    assert rows["windows"].strip() == "6 of 32 tokens"
    assert "nats a token by inner learning" in rows["TTT gain"]
    assert {"loss", "perplexity", "bits/byte", "after 0", "after 16", "common"} <= rows.keys()


def test_a_report_for_programs_and_its_tables(ttt: Callable, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "new" / "eval.csv"
    flags = ("--samples", "5", "--batch", "2", "--seq-len", "64", "--checkpoint", "2")
    code, shown, _ = ttt("eval", str(run), *flags, "--json", "--csv", str(table))
    assert code == 0
    report = json.loads(shown)
    assert (report["step"], report["seq_len"], report["windows"]) == (2, 64, 5)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["kind"] for row in rows} == {"all", "position", "class"}
    assert float(rows[0]["loss"]) == pytest.approx(report["loss"])
    assert ttt("eval", str(run), *flags, "--json").out == shown
    assert (
        json.loads(ttt("eval", str(run), "--samples", "2", "--no-gain", "--json").out)["gain"]
        is None
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 5, "error: no run directory"),
        (("{empty}",), 5, "is not a run directory: expected config.toml"),
        (("{run}", "--checkpoint", "9"), 5, "has no step-000009; it has step-000002, step-000004"),
        (("{run}", "--seq-len", "0"), 3, "error: --max-seq-len is 0, expected 1 or more"),
        (("{run}", "--samples", "-1"), 3, "error: --samples is -1, expected 1 or more"),
        (("{run}", "--split", "test"), 4, "test"),
        (("{run}", "--data", "nothing.txt"), 4, "no such data source: 'nothing.txt'"),
        (("{run}", "--seq-len", "999999"), 4, "validation split of `chronicles`: too little text"),
        (("{run}", "--csv", "/dev/null/x.csv"), 3, "error: --csv: cannot write"),
        (("{torn}",), 5, "tokenizer.json is missing; the run is not complete"),
        (("{newer}",), 5, "has format 9, this version of ttt reads format 3; use the version"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    ttt: Callable, run: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    torn = shutil.copytree(run, tmp_path / "torn")
    (torn / "tokenizer.json").unlink()
    newer = shutil.copytree(run, tmp_path / "newer")
    for manifest in newer.glob("checkpoints/*/manifest.json"):
        manifest.write_text(manifest.read_text().replace('"format": 3', '"format": 9'))
    places = {"run": run, "empty": tmp_path / "empty", "torn": torn, "newer": newer}
    given = [argument.format(**places) for argument in arguments]
    result = ttt("eval", *given)
    assert result.code == code
    assert message in result.err
    assert len(result.err.splitlines()) == 1
