from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_config import DataError, RunConfig
from ttt_data import Tokenizer
from ttt_training.data import load_data

ConfigMaker = Callable[..., RunConfig]


def test_the_named_windows_are_those_of_the_batch_in_any_epoch(
    tiny: ConfigMaker, tmp_path: Path
) -> None:
    text = "".join(f"line {number}\n" for number in range(60))
    (tmp_path / "text.txt").write_text(text)
    tokenizer = Tokenizer.load("bytes")
    config = tiny(tmp_path, source=str(tmp_path / "text.txt"), val_fraction=0.2)
    data = load_data(config, tokenizer)
    assert data.train.num_windows < 5 * config.train.batch_size, "several epochs"
    text_ids = tokenizer.encode(text)[: data.tokens - 1]
    ring = np.tile([*text_ids, tokenizer.eos_id], 2)
    for step in range(12):
        for start, row in zip(
            data.train.samples(step).start, data.train.batch(step).inputs, strict=True
        ):
            assert np.array_equal(row, ring[start : start + 32])


def test_the_seed_orders_the_batches_and_leaves_the_text(tiny: ConfigMaker, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load("bytes")
    a, b = (load_data(tiny(tmp_path, seed=seed), tokenizer) for seed in (0, 1))
    assert (a.tokens, a.unigram_entropy) == (b.tokens, b.unigram_entropy)
    assert (a.train.samples(0).start != b.train.samples(0).start).any()


def test_a_split_too_short_for_one_window_is_named(tiny: ConfigMaker, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("word " * 100)
    config = tiny(tmp_path, source=str(tmp_path / "text.txt"), val_fraction=0.05)
    with pytest.raises(DataError, match=r"validation split of `.*text\.txt`: too little text"):
        load_data(config, Tokenizer.load("bytes"))
