import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ttt_config import DataError, IncompatibleError, RunConfig
from ttt_data import Tokenizer, pretokenize
from ttt_data.readers import open_source
from ttt_data.store import TokenStore, export_split
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
    pretokenize([source], folder, tokenizer="bytes", shard_tokens=5000)
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


# Mixtures, token files of other programs, modes.


def test_a_mixture_is_read_in_its_proportions(
    tiny: ConfigMaker, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("abcd\n" * 400)
    config = tiny(tmp_path, source=f"3*{store},{tmp_path}/text.txt", val_fraction=0.2)
    data = load_data(config, Tokenizer.load("bytes"))
    sources = np.concatenate([data.train.samples(step).source for step in range(10)])
    assert np.bincount(sources).tolist() == [30, 10]
    parts = [
        load_data(tiny(tmp_path, source=str(each), val_fraction=0.2), Tokenizer.load("bytes"))
        for each in (store, tmp_path / "text.txt")
    ]
    assert data.tokens == sum(part.tokens for part in parts)
    assert data.text_bytes == sum(part.text_bytes for part in parts)
    assert data.documents == sum(part.documents for part in parts)
    entropies = [part.unigram_entropy for part in parts]
    assert min(entropies) < data.unigram_entropy < max(entropies) + 1


def test_token_files_of_another_program_are_trained_on_as_they_are(
    tiny: ConfigMaker, store: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        tokens = TokenStore.open(store).split(split)
        export_split(tokens, tmp_path / f"{split}.bin", "nanogpt")
    tokenizer = Tokenizer.load("bytes")
    found = load_data(tiny(tmp_path, source=str(tmp_path)), tokenizer)
    prepared = load_data(tiny(tmp_path, source=str(store)), tokenizer)
    assert np.array_equal(found.train.batch(5).inputs, prepared.train.batch(5).inputs)
    assert found.text_bytes == prepared.text_bytes
    assert found.documents == prepared.documents


def test_tokens_of_another_tokenizer_are_refused(tiny: ConfigMaker, tmp_path: Path) -> None:
    np.arange(500, dtype="<u2").tofile(tmp_path / "some.bin")
    config = tiny(tmp_path, source=str(tmp_path / "some.bin"))
    with pytest.raises(DataError, match=r"holds the token 474, but the tokenizer `bytes` has 259"):
        load_data(config, Tokenizer.load("bytes"))


def test_documents_stay_whole_and_in_order_if_asked_for(tiny: ConfigMaker, tmp_path: Path) -> None:
    config = tiny(tmp_path, source="chronicles", mode="docs", shuffle=False, documents=3)
    data = load_data(config, Tokenizer.load("bytes"))
    assert (data.train.mode, data.train.samples(0).window[0]) == ("docs", 0)
    batch = data.train.batch(0)
    assert batch.segment_ids is not None
    assert batch.reset is not None


def test_text_that_was_left_out_is_reported(tiny: ConfigMaker, tmp_path: Path) -> None:
    good = '{"text": "a line of text, number '
    rows = [f'{good}{number}"}}\n' if number % 9 else "[]\n" for number in range(90)]
    (tmp_path / "rows.jsonl").write_text("".join(rows))
    config = tiny(tmp_path, source=str(tmp_path / "rows.jsonl"), on_bad="skip", val_fraction=0.3)
    data = load_data(config, Tokenizer.load("bytes"))
    assert [line for line in data.left_out if line.startswith("10 x ")]
