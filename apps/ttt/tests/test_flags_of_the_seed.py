"""Command lines written for ttt-rs are understood, in the spellings of its README and its code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN = [
    *("--tokenizer bytes", "--size 12m", "--layer-type linear", "--pos-encoding rope"),
    *("--base-lr 1.0", "--mini-batch-size 16", "--mini-batch 16"),
    *("--max-seq-len 64", "--seq-len 64", "--mlp-expansion-factor 4", "--threads 128"),
    *("--dtype f32", "--dtype bf16", "--dtype f16", "--checkpoint-interval 1"),
    *("--adam-lr 0.001", "--adam-beta1 0.9", "--adam-beta2 0.999"),
    *("--rope-theta 10000.0", "--conv-kernel-size 4", "--conv-before-ttt", "--use-gate"),
    *("--share-qk", "--tie-word-embeddings", "--epsilon 1e-6"),
    *("--batch 32", "--epochs 2", "--epochs 1 --samples 100", "--test-samples 10"),
    *("--lr 2e-3", "--grad-accum 2", "--workers 2", "--warmup-steps 5"),
    *("--beta1 0.9", "--beta2 0.999", "--weight-decay 0.01", "--grad-clip-norm 1.0"),
    *("--seed 3", "--pretokenized", "--no-pretokenized"),
    *("--size 1b", "--size 1.3b", "--size 125m-h32", "--layer-type fused-naive-multi"),
    *("--layer-type fused-tile-multi", "--layer-type 4*linear,mlp", "--resume auto"),
]


@pytest.mark.parametrize("flags", TRAIN)
def test_train_takes_every_flag_of_the_seed(ttt: Callable, tmp_path: Path, flags: str) -> None:
    # Parsing and every check of the values come before the error that ends the command here.
    missing = f"text:{tmp_path / 'none.txt'}"
    code, _, err = ttt("train", "--data", missing, "--out", str(tmp_path / "run"), *flags.split())
    assert code == 4, err
    assert "none.txt" in err.splitlines()[-1]


def test_epochs_and_samples_give_the_length_of_the_run(ttt: Callable, tmp_path: Path) -> None:
    flags = "--tokenizer bytes --documents 4 --seq-len 32 --batch 4 --samples 100 --epochs 3"
    code, out, err = ttt(
        "train", "--dry-run", "--json", "--out", str(tmp_path / "run"), *flags.split()
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["steps"] == 75
    code, _, err = ttt("train", "--dry-run", "--samples", "100", "--out", str(tmp_path / "run"))
    assert code == 3
    assert err == (
        "error: `train.samples` is how many windows an epoch counts; give `train.epochs`, too\n"
    )


def test_a_flag_without_effect_says_so(ttt: Callable, tmp_path: Path) -> None:
    flags = "--tokenizer bytes --documents 4 --dry-run --workers 2 --no-pretokenized"
    code, _, err = ttt("train", "--out", str(tmp_path / "run"), *flags.split())
    assert code == 0
    assert [line.split(":")[1] for line in err.splitlines()] == [
        " --workers has no effect",
        " --pretokenized has no effect",
    ]


@pytest.mark.parametrize(
    "flags",
    [
        "generate {run} Once --tokenizer bytes --quiet",
        "eval {run} --max-seq-len 16 --samples 4 --batch 2 --tokenizer bytes --checkpoint 4",
        "info {run} -v",
        "info {run} --verbose",
        "export-metrics {run} -o {new}/a.csv -m loss,perplexity --train true --valid false",
        "export-metrics {run} --output {new}/b.csv --metrics learning-rate --target-points 2",
        "export-metrics {run} --output {new}/c.csv --window 3",
    ],
)
def test_other_commands_take_every_flag_of_the_seed(
    ttt: Callable, trained: Path, tmp_path: Path, flags: str
) -> None:
    words = [word.format(run=trained, new=tmp_path) for word in flags.split()]
    code, _, err = ttt(*words)
    assert (code, err) == (0, "")
