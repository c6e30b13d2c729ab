import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_config import DataError, IncompatibleError, RunConfig
from ttt_data import Tokenizer
from ttt_data.prepare import prepare
from ttt_data.readers import open_source
from ttt_training.data import adopt_tokenizer, load_data

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


# Prepared token stores.


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "store"
    source = open_source("chronicles", num_documents=4, val_fraction=0.5, test_fraction=0)
    prepare([source], folder, tokenizer="bytes", shard_tokens=5000)
    return folder


def test_a_store_gives_the_batches_of_its_text(
    tiny: ConfigMaker, store: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load("bytes")
    data = load_data(tiny(tmp_path, source=str(store)), tokenizer)
    text = load_data(tiny(tmp_path, source="chronicles", val_fraction=0.5), tokenizer)
    for step in (0, 3, 500):
        assert np.array_equal(data.train.batch(step).inputs, text.train.batch(step).inputs)
    assert np.array_equal(
        next(data.validation_batches(1)).targets, next(text.validation_batches(1)).targets
    )
    assert (data.documents, data.tokens) == (text.documents, text.tokens)
    assert data.text_bytes == text.text_bytes
    assert data.unigram_entropy == pytest.approx(text.unigram_entropy)


def test_the_tokenizer_of_a_store_is_used(tiny: ConfigMaker, store: Path, tmp_path: Path) -> None:
    given = tiny(tmp_path, source=str(store), tokenizer="bpe-4096")
    adopted = adopt_tokenizer(given)
    assert Tokenizer.load(adopted.data.tokenizer) == Tokenizer.load("bytes")
    assert adopt_tokenizer(adopted) == adopted
    assert adopt_tokenizer(tiny(tmp_path, source=str(store))).data.tokenizer == "bytes"
    elsewhere = tiny(tmp_path, tokenizer="bpe-4096")
    assert adopt_tokenizer(elsewhere) == elsewhere


def test_another_tokenizer_than_that_of_the_store_is_refused(
    tiny: ConfigMaker, store: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(Tokenizer.load("bpe-4096").to_json())
    config = tiny(tmp_path, source=str(store), tokenizer=str(other))
    with pytest.raises(IncompatibleError, match="was prepared with another tokenizer"):
        adopt_tokenizer(config)


def test_an_unfinished_store_is_named(tiny: ConfigMaker, store: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(store, unfinished)
    (unfinished / "manifest.json").rename(unfinished / "journal.jsonl")
    with pytest.raises(DataError, match="is not a finished token store"):
        adopt_tokenizer(tiny(tmp_path, source=str(unfinished)))
