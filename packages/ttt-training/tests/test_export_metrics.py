import csv
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ttt_config import CheckpointIncompleteError, ConfigError, InvalidValueError, RunConfig
from ttt_data import Tokenizer
from ttt_training.events import EvalRecord, RunStarted, StepRecord
from ttt_training.export_metrics import (
    METRICS,
    Export,
    Row,
    downsample,
    experiment_names,
    export_metrics,
    find_runs,
    run_rows,
    smooth,
)
from ttt_training.metrics import Reporter
from ttt_training.run_dir import RunDir

ConfigMaker = Callable[..., RunConfig]
RunMaker = Callable[..., Path]


@pytest.fixture
def make_run(tiny: ConfigMaker) -> RunMaker:
    """Write a run directory with some records, as training does, without training."""

    def make(path: Path, losses: dict[int, float], *, text_tokens: int | None = None) -> Path:
        config = tiny(path, seq_len=10, batch_size=2)  # 20 tokens a step
        run = RunDir(path)
        run.create(config, Tokenizer.load("bytes"), torch.device("cpu"), overwrite=False)
        with Reporter(run, None) as report:
            if text_tokens is not None:
                report(started(path, text_tokens))
            for step, loss in losses.items():
                report(step_record(step, loss))
                report(eval_record(step, loss + 1))
        return path

    return make


def started(path: Path, tokens: int) -> RunStarted:
    return RunStarted(
        out=str(path),
        documents=2,
        tokens=tokens,
        text_bytes=2 * tokens,
        tokenizer="bytes",
        vocab_size=257,
        model="linear",
        parameters=5,
        kernel="reference",
        device="cpu",
        steps=9,
        tokens_per_step=20,
        unigram_entropy=1.0,
    )


def step_record(step: int, loss: float) -> StepRecord:
    return StepRecord(
        step=step,
        loss=loss,
        lr=step / 1000,
        grad_norm=step / 10,
        tokens=20 * step,
        tokens_per_s=1e3,
        data_time_s=0.0,
        peak_memory_bytes=1,
    )


def eval_record(step: int, loss: float) -> EvalRecord:
    return EvalRecord(
        step=step, val_loss=loss, val_loss_error=0.1, val_ppl=math.exp(loss), val_bpb=loss / 2
    )


def lines(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def rows(values: Sequence[float | None]) -> list[Row]:
    return [Row(1, place, 10 * place, (value,)) for place, value in enumerate(values, start=1)]


def column(found: Sequence[Row]) -> list[float | None]:
    return [row.values[0] for row in found]


def test_both_files_have_the_header_and_the_columns_in_the_order_asked_for(
    make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "one", {1: 2.0, 3: 1.0}, text_tokens=1000)
    of_both = ("learning-rate", "loss", "perplexity", "bits-per-byte", "grad-norm", "tokens-per-s")
    metrics = (*of_both, "inner-loss-before", "inner-loss-after")
    written = export_metrics([run], tmp_path / "new/m.csv", Export(metrics=metrics))
    assert [(Path(each.path).name, each.rows) for each in written] == [
        ("m_train.csv", 2),
        ("m_valid.csv", 2),
    ]
    header, first, second = lines(tmp_path / "new/m_train.csv")
    assert header[:4] == ["experiment", "epoch", "step", "global_step"]
    assert header[4:] == [name.replace("-", "_") for name in metrics]
    assert first[:7] == ["one", "1", "1", "1", "0.001", "2.0", repr(math.exp(2.0))]
    assert float(first[7]) == pytest.approx(2.0 / math.log(2) / 2)
    assert second[:4] == ["one", "1", "2", "3"]
    assert lines(tmp_path / "new/m_valid.csv")[1] == [
        *("one", "1", "1", "1", "", "3.0", repr(math.exp(3.0)), "1.5", "", "", "", "")
    ]
    assert set(metrics) == set(METRICS)


def test_an_epoch_is_a_pass_over_the_text_and_steps_count_its_rows(
    make_run: RunMaker, tmp_path: Path
) -> None:
    losses = dict.fromkeys(range(1, 8), 1.0)
    run = make_run(tmp_path / "run", losses, text_tokens=67)  # 6 windows, 3 steps, 7 tokens over
    found = run_rows(run, Export())
    assert [row[:3] for row in found["train"]] == [
        *((1, 1, 1), (1, 2, 2), (1, 3, 3)),
        *((2, 1, 4), (2, 2, 5), (2, 3, 6)),
        (3, 1, 7),
    ]
    assert [row[:3] for row in found["valid"]] == [row[:3] for row in found["train"]]
    unknown = make_run(tmp_path / "unknown", losses)
    assert {row.epoch for row in run_rows(unknown, Export())["train"]} == {1}


def test_a_value_that_was_not_finite_is_an_empty_field(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {1: math.nan, 2: 1.0})
    export_metrics([run], tmp_path / "m.csv", Export())
    assert lines(tmp_path / "m_train.csv")[1] == ["run", "1", "1", "1", "", ""]


def test_a_run_without_records_gives_tables_without_rows(
    make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", {})
    export_metrics([run], tmp_path / "m", Export(splits=("train",)))
    assert (tmp_path / "m_train").read_text() == (
        "experiment,epoch,step,global_step,loss,perplexity\n"
    )
    assert not (tmp_path / "m_valid").exists()


def test_smoothing_is_a_centred_mean_over_what_there_is() -> None:
    values = [1.0, 2.0, 6.0, None, 4.0]
    assert column(smooth(rows(values), 3)) == [1.5, 3.0, 4.0, 5.0, 4.0]
    assert column(smooth(rows(values), 2)) == column(smooth(rows(values), 3))
    assert column(smooth(rows(values), 1)) == values
    assert column(smooth(rows([None, None, None]), 3)) == [None] * 3
    assert column(smooth(rows(values), 99)) == [3.25] * 5
    assert [row[:3] for row in smooth(rows(values), 3)] == [row[:3] for row in rows(values)]
    assert smooth([], 3) == []


@pytest.mark.parametrize("points", [1, 2, 3, 7, 39])
def test_downsampling_never_gives_more_points_and_leaves_few_rows_alone(points: int) -> None:
    for count in range(50):
        values = [float(value) for value in range(count)]
        found = downsample(rows(values), points)
        assert len(found) == min(count, points)
        steps = [row.global_step for row in found]
        assert steps == sorted(set(steps))
        if count <= points:
            assert column(found) == values
        elif points == 1:
            assert column(found) == [sum(values) / count]


def test_downsampling_takes_the_steps_from_the_middle_of_a_bucket() -> None:
    found = downsample(rows([1.0, 2.0, 6.0, 1.0, None, 3.0]), 2)
    assert found == [Row(1, 2, 20, (3.0,)), Row(1, 5, 50, (2.0,))]


def test_points_and_windows_are_of_each_run_by_itself(make_run: RunMaker, tmp_path: Path) -> None:
    ones = make_run(tmp_path / "ones", dict.fromkeys(range(1, 7), 1.0))
    nines = make_run(tmp_path / "nines", dict.fromkeys(range(1, 7), 9.0))
    export = Export(metrics=("loss",), window=5, target_points=2, splits=("train",))
    export_metrics([ones, nines], tmp_path / "m.csv", export)
    assert [(row[0], row[4]) for row in lines(tmp_path / "m_train.csv")[1:]] == [
        *[("ones", "1.0")] * 2,
        *[("nines", "9.0")] * 2,
    ]


def test_runs_of_equal_name_get_the_shortest_path_that_tells_them_apart() -> None:
    paths = ["/x/a/run", "/x/b/run", "/y/b/run", "/x/other", "/run"]
    names = experiment_names([Path(path) for path in paths])
    assert names == ["a/run", "x/b/run", "y/b/run", "other", "/run"]


def test_patterns_give_run_directories_sorted_and_once(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/b", "runs/a", "odd[1]"):
        make_run(Path(name), {})
    Path("runs/notes").mkdir()
    Path("runs/a.csv").write_text("")
    Path("runs/b/checkpoints/step-000001").mkdir(parents=True)
    Path("runs/half/checkpoints").mkdir(parents=True)
    found = find_runs(["runs/**", "runs/../runs/b", "odd[1]", "no*", "runs/notes", "runs/a.csv"])
    assert found.paths == [tmp_path / name for name in ("odd[1]", "runs/a", "runs/b")]
    half, *others = found.left_out
    assert half.endswith("runs/half/config.toml is missing; the run is not complete")
    assert others == [
        f"no run directory matches `{pattern}`" for pattern in ("no*", "runs/notes", "runs/a.csv")
    ]
    assert find_runs(["runs/b/checkpoints/step-000001"]).paths == [tmp_path / "runs/b"]
    reasons = "no run directory matches ``; no run directory matches `x*`"
    with pytest.raises(CheckpointIncompleteError, match=re.escape(reasons)):
        find_runs(["", "x*"])


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (Export(metrics=("loss", "accuracy")), "unknown metric `accuracy`; expected one or more"),
        (Export(metrics=()), "unknown metric ``; expected one or more of loss, perplexity, "),
        (Export(splits=()), "neither train nor valid"),
        (Export(window=0), "window is 0, expected 1 or more"),
        (Export(target_points=0), "target points is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_exported_is_refused(export: Export, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=message):
        export_metrics([], tmp_path / "m.csv", export)


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(
    make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", {1: 1.0})
    with pytest.raises(ConfigError, match="it is a folder"):
        export_metrics([run], tmp_path, Export())
    (tmp_path / "m_train.csv").mkdir()
    with pytest.raises(ConfigError, match=r"cannot write `.*m_train\.csv`"):
        export_metrics([run], tmp_path / "m.csv", Export())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m_train.csv", "run"]
