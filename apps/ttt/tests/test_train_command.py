import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from ttt_config import load

NO_GPU_KERNEL = (
    "cannot run this: it runs on cuda, not cpu" if find_spec("triton") else "is not available here"
)
"""Why a kernel for GPUs is not taken on a CPU."""
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
log_every = 2
save_every = 2
eval_every = 4
"""


@pytest.fixture
def train(ttt: Callable, tmp_path: Path) -> Callable:
    """Run `ttt train` with the configuration above and more flags."""
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    return partial(ttt, "train", "--config", str(config))


def test_a_run_tells_what_it_is_how_it_goes_and_what_it_came_to(
    train: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "my run"
    code, printed, err = train("--out", str(out))
    assert (code, err) == (0, "")
    lines = [line.split("  ")[0] for line in printed.splitlines()]
    assert lines == [
        *("data", "tokenizer", "model", "device", "kernel", "plan", "unigram"),
        *("step 1/4", "step 2/4", f"saved {out}/checkpoints/step-000002"),
        *("step 4/4", "eval 4/4", f"saved {out}/checkpoints/step-000004"),
        *("val loss", "unigram", "difference", "inner loss", "artifacts", "try"),
    ]
    assert "4 steps x 128 tokens = 512 tokens" in printed
    assert printed.endswith(f"ttt generate '{out}'\n")
    assert load(out).train.steps == 4
    assert {path.name for path in out.iterdir()} == {
        *(
            "config.toml",
            "run.json",
            "tokenizer.json",
            "metrics.jsonl",
            "events.jsonl",
            "checkpoints",
        )
    }
    assert json.loads((out / "run.json").read_text())["seed"] == 0


def test_json_is_one_object_an_event_and_quiet_only_the_last(
    train: Callable, tmp_path: Path
) -> None:
    spoken = train("--out", str(tmp_path / "a"), "--json").out.splitlines()
    events = [json.loads(line) for line in spoken]
    assert [event["event"] for event in events] == [
        *("start", "step", "step", "checkpoint", "step", "eval", "checkpoint", "done")
    ]
    quiet = train("--out", str(tmp_path / "b"), "--json", "--quiet").out
    result = json.loads(quiet)
    assert result["val_loss"] == events[-1]["val_loss"] == events[-3]["val_loss"]
    shown = train("--out", str(tmp_path / "c"), "--quiet").out
    assert shown.startswith("val loss ")


def test_a_taken_directory_is_one_line_and_overwrite_replaces_it(
    train: Callable, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path))
    assert train(*out, "--quiet").code == 0
    code, printed, err = train(*out)
    assert (code, printed) == (3, "")
    assert err == (
        f"error: `out`: {tmp_path} holds a run already; choose another directory with "
        "--out OTHER or replace the run with --overwrite\n"
    )
    assert train(*out, "--steps", "2", "--overwrite", "--quiet").code == 0
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--lr", "0"), 3, "`train.lr` (--lr): expected a number > 0"),
        (("--vocab-size", "10"), 3, "`model.vocab_size` is 10, but the tokenizer"),
        (("--tokenizer", "nowhere.json"), 4, "nowhere.json"),
        (("--data", "nowhere.txt"), 4, "nowhere.txt"),
        (
            ("--kernel", "tile", "--data", "nowhere.txt"),
            6,
            f"kernel `tile` {NO_GPU_KERNEL}",
        ),
        (("--lr", "1e30"), 7, "step 2: loss nan"),
    ],
)
def test_what_cannot_work_is_one_line(
    train: Callable, tmp_path: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    out = str(tmp_path / "run")
    found = train("--warmup-steps", "0", "--out", out, "--quiet", *flags)
    assert (found.code, found.out) == (code, "")
    assert found.err.startswith("error: ")
    assert message in found.err
    assert found.err.count("\n") == 1


def test_the_kernel_of_a_run_and_the_reason_are_shown_and_kept(
    train: Callable, ttt: Callable, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    shown = train("--layer-type", "linear,fused-tile-multi", "--out", out).out
    row = next(line for line in shown.splitlines() if line.startswith("kernel "))
    assert " in 1 layer (the fastest for linear here); " in row
    assert f" in 1 layer (`tile-multi` {NO_GPU_KERNEL}" in row
    assert json.loads(ttt("info", out, "--json").out)["model"]["kernel"] in row
    planned = train("--out", str(tmp_path / "plan"), "--kernel", "reference", "--dry-run").out
    assert "reference (asked for by name)" in planned


def test_help_and_bad_values_never_import_torch() -> None:
    code = (
        "import sys; from ttt_cli.main import main\n"
        "for args in (['train', '--help'], ['train', '--lr', '0'], ['generate', '--help']):\n"
        "    try: main(args)\n"
        "    except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--overwrite" in done.stdout
    loaded = set(done.stderr.split())
    assert "ttt_cli.commands.generate" in loaded
    assert not loaded & {"torch", "numpy", "ttt_training", "ttt_layer", "ttt_data"}


def test_a_run_is_resumed_from_its_directory_wherever_it_was_moved(
    ttt: Callable, train: Callable, tmp_path: Path
) -> None:
    assert train("--out", str(tmp_path / "begun")).code == 0
    (tmp_path / "begun").rename(tmp_path / "moved")
    code, printed, err = ttt("train", "--resume", str(tmp_path / "moved"), "--steps", "6")
    assert (code, err) == (0, "")
    assert "changed    train.steps: 4 -> 6" in printed
    assert f"resumed    {tmp_path}/moved/checkpoints/step-000004, after step 4" in printed
    assert f"saved {tmp_path}/moved/checkpoints/step-000006" in printed
    assert load(tmp_path / "moved").train.steps == 6
    printed = ttt("train", "--out", str(tmp_path / "moved"), "--resume", "auto").out
    assert "warning: nothing to do: the run has taken 6 of 6 steps; raise --steps" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--resume", "nowhere"), 5, "nowhere; `ttt train --out` writes one"),
        (("--resume", "{run}", "--seed", "5"), 3, "`train.seed` was 0, now 5; leave them out"),
        (("--resume", "{run}/checkpoints/step-000001"), 5, "step-000001"),
    ],
)
def test_what_cannot_be_resumed_is_one_line(
    ttt: Callable,
    train: Callable,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    train("--out", str(tmp_path / "run"))
    given = [argument.format(run=tmp_path / "run") for argument in arguments]
    result = ttt("train", *given)
    assert result.code == code
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_run_killed_as_it_was_created_begins_again(train: Callable, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("--out", str(out), "--quiet", "--steps", "2").code == 0
    shutil.rmtree(out / "checkpoints")
    (out / "tokenizer.json").unlink()  # written after config.toml
    assert train("--out", str(out), "--resume", "auto", "--quiet", "--steps", "3").code == 0
    assert load(out).train.steps == 3
