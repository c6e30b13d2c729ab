import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def workplace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; it holds a trained run twice, as runs/a and runs/b."""
    for name in ("a", "b"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_two_files_hold_what_a_trained_run_logged(ttt: Callable, workplace: Path) -> None:
    code, shown, err = ttt("export-metrics", "runs/*")
    assert (code, err) == (0, "")
    assert shown == "metrics_train.csv  rows: 4, runs: 2\nmetrics_valid.csv  rows: 2, runs: 2\n"
    lines = (workplace / "runs/a/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    logged = [record for record in records if record["event"] == "step"]
    assert Path("metrics_train.csv").read_text().splitlines()[0] == (
        "experiment,epoch,step,global_step,loss,perplexity"
    )
    table = rows("metrics_train.csv")
    assert [row["experiment"] for row in table] == ["a", "a", "b", "b"]
    assert [row["step"] for row in table] == ["1", "2", "1", "2"]
    assert [int(row["global_step"]) for row in table[:2]] == [each["step"] for each in logged]
    assert [float(row["loss"]) for row in table[:2]] == [each["loss"] for each in logged]
    measured = next(record for record in records if record["event"] == "eval")
    assert float(rows("metrics_valid.csv")[0]["perplexity"]) == measured["val_ppl"]


def test_a_folder_of_runs_is_its_runs(ttt: Callable, workplace: Path) -> None:
    (workplace / "runs" / "notes").mkdir()
    (workplace / "runs" / "begun").mkdir()
    (workplace / "runs" / "begun" / "config.toml").touch()
    result = ttt("export-metrics", "runs")
    assert result.code == 0
    assert (
        result.out == "metrics_train.csv  rows: 4, runs: 2\nmetrics_valid.csv  rows: 2, runs: 2\n"
    )
    assert result.err.startswith("warning: ")
    assert "begun" in result.err


def test_metrics_are_columns_in_the_order_asked_for(ttt: Callable, workplace: Path) -> None:
    names = ("-m", "learning_rate, loss", "-m", "grad-norm,loss")
    result = ttt("export-metrics", "runs/a", *names, "-o", "out/x.tsv", "--valid", "false")
    assert result.code == 0
    assert [path.name for path in (workplace / "out").iterdir()] == ["x_train.tsv"]
    assert list(rows("out/x_train.tsv")[0])[4:] == ["learning_rate", "loss", "grad_norm"]


def test_what_an_update_gains_is_a_column_of_evaluations(ttt: Callable, workplace: Path) -> None:
    names = ("-m", "loss,inner_loss_before,inner-loss-after")
    assert ttt("export-metrics", "runs/a", *names).code == 0
    lines = (workplace / "runs/a/metrics.jsonl").read_text().splitlines()
    measured = [record for line in lines if "val_loss" in (record := json.loads(line))]
    for name in ("inner_loss_before", "inner_loss_after"):
        assert {row[name] for row in rows("metrics_train.csv")} == {""}
        found = [float(row[name]) for row in rows("metrics_valid.csv")]
        assert found == [record[name] for record in measured]


@pytest.mark.usefixtures("workplace")
def test_the_seeds_switches_smoothing_and_json(ttt: Callable) -> None:
    options = ("--train", "true", "--valid", "true", "--window", "3", "--target-points", "1")
    facts = json.loads(ttt("export-metrics", "runs/a", *options, "--json").out)
    assert [Path(path).name for path in facts["runs"]] == ["a"]
    assert [(each["split"], each["rows"]) for each in facts["files"]] == [
        ("train", 1),
        ("valid", 1),
    ]
    assert ttt("export-metrics", "runs/a", "--quiet").out == ""


def test_what_is_no_run_is_a_warning_if_others_are(ttt: Callable, workplace: Path) -> None:
    (workplace / "runs/b/tokenizer.json").unlink()
    code, shown, err = ttt("export-metrics", "runs/*", "none*")
    assert code == 0
    assert "metrics_train.csv  rows: 2, runs: 1" in shown
    incomplete, unmatched = err.splitlines()
    assert incomplete.startswith("warning: ")
    assert "runs/b/tokenizer.json is missing" in incomplete
    assert unmatched == "warning: no run directory matches `none*`"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none*",), 5, "no run directory matches `none*`"),
        ((".",), 5, "no run directory matches `.`"),
        (("runs/a", "-m", "loss,accuracy"), 3, "unknown metric `accuracy`; expected one or more"),
        (("runs/a", "-m", ""), 3, "unknown metric ``"),
        (("runs/a", "--window", "0"), 3, "window is 0, expected 1 or more"),
        (("runs/a", "--target-points", "-1"), 3, "target points is -1, expected 1 or more"),
        (("runs/a", "--train", "false", "--valid", "false"), 3, "neither train nor valid"),
        (("runs/a", "--train", "maybe"), 2, "'maybe' is not one of 'true', 'false'"),
        (("runs/a", "-o", "runs"), 3, "cannot write `runs`: it is a folder"),
        (
            ("runs/a", "-o", "runs/a/run.json/x.csv"),
            3,
            "cannot write `runs/a/run.json/x_train.csv`",
        ),
        ((), 2, "Missing argument 'DIRS'"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_a_mistake_is_one_line(
    ttt: Callable, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = ttt("export-metrics", *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_broken_record_is_named(ttt: Callable, workplace: Path) -> None:
    metrics = workplace / "runs/a/metrics.jsonl"
    first, rest = metrics.read_text().split("\n", 1)
    metrics.write_text(first[:-9] + "\n" + rest)
    result = ttt("export-metrics", "runs/a")
    assert result.code == 5
    assert "runs/a/metrics.jsonl line 1 is damaged: " in result.err
    assert not (workplace / "metrics_train.csv").exists()
