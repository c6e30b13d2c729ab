import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ttt_config import CheckpointError, CheckpointIncompleteError, RunConfig
from ttt_data import Tokenizer
from ttt_training import load_run
from ttt_training.run_dir import RunDir
from ttt_training.run_info import count_parameters, describe_run

ConfigMaker = Callable[..., RunConfig]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "run")


def test_a_finished_run_is_described_by_what_it_wrote(run: Path) -> None:
    report = describe_run(run)
    model, _, config = load_run(run)
    end = json.loads((run / "events.jsonl").read_text().splitlines()[-1])
    assert report.model.parameters == sum(each.numel() for each in model.parameters())
    assert report.model.vocab_size == config.model.vocab_size
    assert report.training.tokens_per_step == 4 * 32
    assert (report.progress.state, end["event"]) == ("finished", "done")
    assert (report.progress.step, report.progress.steps) == (6, 6)
    assert report.progress.passes == 6 * 4 * 32 / (report.data.tokens or 0)
    assert report.newest_validation is not None
    assert report.newest_validation.loss == end["val_loss"]
    assert report.newest_validation.bits_per_byte == end["val_bpb"]
    assert report.newest_validation.inner_loss_before == end["inner_loss_before"]
    assert report.newest_validation.inner_loss_after == end["inner_loss_after"]
    assert report.newest_training is not None
    assert report.newest_training.step == 6
    assert (report.evaluations, report.checkpoints) == (None, None)


def test_the_newest_and_the_best_checkpoint_are_verified(run: Path) -> None:
    progress = describe_run(run).progress
    assert progress.newest is not None
    assert progress.best is not None
    assert (progress.newest.step, progress.newest.problem) == (6, None)
    assert (progress.best.step, progress.best.val_loss) == (6, progress.newest.val_loss)
    damaged = run / "checkpoints/step-000006/optim.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    progress = describe_run(run).progress
    assert progress.newest is not None
    assert "optim.safetensors is damaged" in (progress.newest.problem or "")
    assert progress.best is None


def test_verbose_has_all_evaluations_and_all_checkpoints(run: Path) -> None:
    report = describe_run(run / "checkpoints/step-000003", verbose=True)
    assert [each.step for each in report.checkpoints or []] == [3, 6]
    assert [each.step for each in report.evaluations or []] == [6]


def test_a_run_that_has_only_begun_is_described(tiny: ConfigMaker, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    config = tiny(run.path)
    run.create(config, Tokenizer.load("bytes"), torch.device("cpu"), overwrite=False)
    report = describe_run(run.path, verbose=True)
    progress = report.progress
    assert (progress.step, progress.steps, progress.state) == (0, 6, "unfinished")
    assert (progress.newest, progress.best, progress.last_written) == (None, None, None)
    assert (report.newest_training, report.newest_validation) == (None, None)
    assert (report.model.parameters, report.data.tokens, progress.passes) == (None, None, None)
    assert (report.evaluations, report.checkpoints) == ([], [])


def test_a_killed_run_with_a_half_record_is_described(run: Path) -> None:
    events = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(events[:-1]))
    metrics = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(metrics[:-20])
    shutil.rmtree(run / "checkpoints/step-000006")
    report = describe_run(run)
    assert report.progress.state == "unfinished"
    assert (report.progress.step, report.newest_validation) == (6, None)
    assert report.progress.newest is not None
    assert report.progress.newest.step == 3


def test_parameters_are_counted_in_the_checkpoint_if_no_event_tells(run: Path) -> None:
    known = describe_run(run).model.parameters
    (run / "events.jsonl").unlink()
    (run / "run.json").write_text("{")
    report = describe_run(run)
    assert report.model.parameters == known
    assert (report.started, report.device) == (None, None)
    assert count_parameters(run) is None
    (run / "checkpoints/step-000006/model.safetensors").write_bytes(b"\xff" * 100)
    assert describe_run(run).model.parameters is None


def test_what_is_no_run_or_is_damaged_is_an_error(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointIncompleteError):
            describe_run(path)
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(b"{" + metrics.read_bytes())
    with pytest.raises(CheckpointError, match="line 1 is damaged"):
        describe_run(run)


@pytest.mark.parametrize("module", ["run_info", "export_metrics"])
def test_they_are_quick_because_they_import_no_tensors(module: str) -> None:
    heavy = "{'torch', 'numpy', 'tokenizers'}"
    code = f"import sys, ttt_training.{module}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_in_the_directory_changes(run: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*")
        }

    before = state()
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert describe_run(run, verbose=True).progress.state == "finished"
        assert state() == before
    finally:
        for path in [run, *run.rglob("*")]:
            path.chmod(0o755)
