"""Whatever holds text or tokens, opened as splits of tokens."""

from pathlib import Path

import numpy as np
import pytest

from ttt_config import DataConfig
from ttt_config.errors import DataError, InvalidValueError
from ttt_data import Tokenizer, TokenStore, chronicles, open_corpus, pretokenize
from ttt_data.corpus import ForeignCorpus, TextCorpus, WeightedSource, parse_mixture
from ttt_data.readers import open_source
from ttt_data.store import ExportFormat, TokenSplit, export_split

BYTES = Tokenizer.load("bytes")
SETTINGS = DataConfig(documents=6, val_fraction=0.34)


def ids(tokens: TokenSplit) -> list[int]:
    return tokens.tokens(0, len(tokens)).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = tmp_path_factory.mktemp("corpus") / "store"
    source = open_source("chronicles", num_documents=6, val_fraction=0.34, test_fraction=0)
    pretokenize([source], folder, tokenizer=BYTES)
    return TokenStore.open(folder)


def test_text_and_the_store_prepared_from_it_are_the_same_tokens(store: TokenStore) -> None:
    text = open_corpus("chronicles", BYTES, SETTINGS)
    assert isinstance(text, TextCorpus)
    for name in ("train", "val"):
        prepared = open_corpus(str(store.folder), BYTES).split(name)
        assert ids(text.split(name)) == ids(prepared)
        assert np.array_equal(text.split(name).document_bounds, prepared.document_bounds)
        assert text.split(name).text_bytes == prepared.text_bytes
    assert text.split("train") is text.split("train"), "encoded once"


def test_what_was_left_out_of_the_text_is_known(tmp_path: Path) -> None:
    lines = [f'{{"text": "line {n}"}}\n' if n % 2 else '{"no": 1}\n' for n in range(80)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    settings = DataConfig(on_bad="skip", val_fraction=0.5)
    corpus = open_corpus(str(tmp_path / "a.jsonl"), BYTES, settings)
    assert isinstance(corpus, TextCorpus)
    for _ in range(2):
        assert len(corpus.split("train")) + len(corpus.split("val")) > 40 * len("line 1")
    assert [problem.count for problem in corpus.problems] == [40]
    assert "a.jsonl:1: " in str(corpus.problems[0])


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("nanogpt", ("train.bin", "val.bin")),
        ("llmc", ("story_train_000001.bin", "story_val_000000.bin")),
        ("megatron", ("x_train_text_document.bin", "x_valid_text_document.bin")),
        ("npy", ("train.npy", "validation.npy")),
        ("ptok", ("train.ptok", "val.ptok")),
    ],
)
def test_the_files_of_other_programs_are_read_as_they_are(
    store: TokenStore, tmp_path: Path, to: ExportFormat, names: tuple[str, str]
) -> None:
    for split, name in zip(("train", "val"), names, strict=True):
        bounds = store.split(split).document_bounds
        row_length = int(np.diff(bounds).max()) if to == "ptok" else None
        export_split(
            store.split(split), tmp_path / name, to, row_length=row_length, pad_id=BYTES.pad_id
        )
    corpus = open_corpus(str(tmp_path), BYTES)
    assert isinstance(corpus, ForeignCorpus)
    for split in ("train", "val"):
        found = corpus.split(split)
        assert ids(found) == ids(store.split(split))
        if to != "llmc":  # where the mark is taken to begin a document, not to end it
            assert np.array_equal(found.document_bounds, store.split(split).document_bounds)
    with pytest.raises(DataError, match=r"has no split test: expected one of train, val; name a"):
        corpus.split("test")


def test_shards_of_a_split_lie_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        np.full(5, number, dtype="<u2").tofile(tmp_path / f"a_train_{number:06}.bin")
    np.full(5, 9, dtype="<u2").tofile(tmp_path / "a_val_000000.bin")
    for spec in (tmp_path, tmp_path / "a_*.bin"):
        corpus = open_corpus(str(spec), BYTES)
        assert ids(corpus.split("train")) == [0] * 5 + [1] * 5 + [2] * 5
        assert ids(corpus.split("val")) == [9] * 5


def test_a_single_token_file_is_cut_near_a_document(tmp_path: Path) -> None:
    eos = BYTES.eos_id
    tokens = np.array([[100, 101, 102, 103, eos]] * 20, dtype="<u2").ravel()
    tokens.tofile(tmp_path / "all.bin")
    settings = DataConfig(val_fraction=0.11, test_fraction=0.1)
    corpus = open_corpus(str(tmp_path / "all.bin"), BYTES, settings)
    parts = [corpus.split(name) for name in ("train", "val", "test")]
    assert [id_ for part in parts for id_ in ids(part)] == tokens.tolist()
    assert [len(part) for part in parts] == [80, 10, 10]
    assert parts[1].document_bounds.tolist() == [0, 5, 10]
    assert parts[1].take(np.array([[4, 5]])).tolist() == [[eos, 100]]
    assert len({part.fingerprint for part in parts}) == 3
    with pytest.raises(IndexError):
        parts[0].take(np.array([80]))


def test_a_large_vocabulary_has_wide_tokens(tmp_path: Path, large: Tokenizer) -> None:
    np.array([1, 70_000, 2], dtype="<u4").tofile(tmp_path / "train.bin")
    np.array([3], dtype="<u4").tofile(tmp_path / "val.bin")
    assert ids(open_corpus(str(tmp_path), large).split("train")) == [1, 70_000, 2]


@pytest.fixture(scope="module")
def large() -> Tokenizer:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    vocab = {"<eos>": 0, "[UNK]": 1, **{f"w{number}": number for number in range(2, 70_001)}}
    return Tokenizer(Backend(models.WordLevel(vocab=vocab, unk_token="[UNK]")), "large")  # noqa: S106


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data/books", [("data/books", 1)]),
        ("3*data/books, data/stories", [("data/books", 3), ("data/stories", 1)]),
        ("0.25*a,0.75*b", [("a", 0.25), ("b", 0.75)]),
        ("data/*.txt", [("data/*.txt", 1)]),
        ("3*.txt", [("3*.txt", 1)]),
        ("2*./a,.5 * /b", [("./a", 2), ("/b", 0.5)]),
        ("2*data/*.txt,chronicles", [("data/*.txt", 2), ("chronicles", 1)]),
        ("hf://owner/repo@rev", [("hf://owner/repo@rev", 1)]),
    ],
)
def test_a_mixture_is_sources_with_weights(text: str, parts: list[tuple[str, float]]) -> None:
    assert parse_mixture(text) == [WeightedSource(*part) for part in parts]


def test_a_file_with_a_comma_in_its_name_is_one_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2*a,b.txt").write_text("x")
    assert parse_mixture("2*a,b.txt") == [WeightedSource("2*a,b.txt", 1.0)]


@pytest.mark.parametrize("text", ["a,,b", ",a", "", "2*a, "])
def test_an_empty_part_of_a_mixture_is_named(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"is no mixture of sources: expected `3\*data"):
        parse_mixture(text)


def test_damaged_token_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"abc")
    with pytest.raises(DataError, match=r"train\.bin` is not a row of u16 tokens: 3 bytes"):
        open_corpus(str(tmp_path / "train.bin"), BYTES)


def test_documents_are_still_whole_chronicles(store: TokenStore) -> None:
    bounds = store.split("train").document_bounds
    first = store.split("train").tokens(0, int(bounds[1]) - 1)
    assert BYTES.decode(first) == chronicles.document(0).text
