"""The fast paths of encoding: the same ids, or not taken."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers

from ttt_data import Tokenizer, chronicles, encoding
from ttt_data.byte_ranks import UnsuitableError
from ttt_data.encoding import NASTY_TEXTS, Encoder
from ttt_data.tokenizer import byte_symbol
from ttt_data.train_tokenizer import train_bpe

BPE = Tokenizer.load("bpe-4096")
STORIES = [document.text for document in chronicles.documents("val", 20)]


def crossing_tokenizer() -> Tokenizer:
    """Merges a letter, a digit, a sign and a space with the first byte of any character.

    So every place where a character belongs to another word than expected shows in the ids.
    """
    symbols = [byte_symbol(byte) for byte in range(256)]
    merges = [
        (symbols[first], symbols[second])
        for first in b"a1! "
        for second in (*range(0x80), *range(0xC2, 0xF5))
    ]
    tokens = [*symbols, *map("".join, merges)]
    return edited(BPE, vocab={token: id_ for id_, token in enumerate(tokens)}, merges=merges)


def edited(tokenizer: Tokenizer, **changes: Any) -> Tokenizer:
    """The tokenizer with other parts of the file, or of the model in it."""
    content = json.loads(tokenizer.to_json())
    for name, value in changes.items():
        (content["model"] if name in content["model"] else content)[name] = value
    content["added_tokens"] = changes.get("added_tokens", [])
    return Tokenizer.from_json(json.dumps(content), "edited")


TOKENIZERS = {
    "bpe-4096": BPE,
    "bytes": Tokenizer.load("bytes"),
    "crossing": crossing_tokenizer(),
    "nasty": train_bpe(NASTY_TEXTS * 2, 900),
}
FAST = {name: Encoder(tokenizer, fast=True) for name, tokenizer in TOKENIZERS.items()}

# Few characters of many kinds, so that runs and contractions occur, or any at all.
texts = st.text("aZ19'st.!-  \n\t\r\u00a0\u0085\x1c\u00e9\u0301\u4e2d\U0001f600\u200d") | st.text()


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts)
def test_the_ids_of_any_text_are_those_of_the_tokenizer(name: str, text: str) -> None:
    ids = FAST[name].encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == TOKENIZERS[name].encode(text).tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_fast_path_is_chosen_and_says_why(name: str) -> None:
    encoder = Encoder.choose(TOKENIZERS[name], STORIES)
    assert encoder.path == ("table" if name == "bytes" else "tiktoken")
    characters = sum(map(len, (*NASTY_TEXTS, *STORIES)))
    assert encoder.reason == f"gives the same ids for {characters:,} characters of proof"


@pytest.mark.parametrize("fast", [True, False])
def test_a_batch_encodes_like_single_texts(fast: bool) -> None:
    encoder = Encoder(BPE, fast=fast)
    batch = encoder.encode_batch(STORIES)
    assert len(batch) == len(STORIES)
    for ids, text in zip(batch, STORIES, strict=True):
        assert ids.tolist() == BPE.encode(text).tolist()


def test_special_tokens_are_not_recognised_in_text() -> None:
    assert FAST["bpe-4096"].encode("<eos>").min() > 2


@given(text=texts)
@example(text="11!\x1c1")
def test_cutting_a_long_text_changes_no_id(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_SEGMENT_CHARACTERS", 3)
        segments = list(encoding._segments(text))
        assert "".join(segments) == text
        assert (
            FAST["crossing"].encode(text).tolist() == TOKENIZERS["crossing"].encode(text).tolist()
        )


def test_a_long_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_SEGMENT_CHARACTERS", 1000)
    lengths = [len(segment) for segment in encoding._segments("".join(STORIES))]
    assert len(lengths) > 10
    assert max(lengths) < 1100


@given(before=st.text("ab \n"), blank=st.text(" \n\u3000\x0b", min_size=9), after=st.text("ab \n"))
def test_blank_text_that_tiktoken_cannot_read_is_found(before: str, blank: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BLANK_CHARACTERS", 5)
        assert encoding._has_long_blank(before + blank + after)
        text = before + blank + after
        assert (
            FAST["crossing"].encode(text).tolist() == TOKENIZERS["crossing"].encode(text).tolist()
        )
    assert not encoding._has_long_blank(before + blank + after)


# What is not fast, and why.


def wordpiece() -> Tokenizer:
    backend = Backend(models.WordPiece({"[UNK]": 0, "abc": 1}))
    return Tokenizer(backend, "wordpiece")


def small(vocab: dict[str, int] | None = None, merges: Any = (), **options: Any) -> Tokenizer:
    symbols = {byte_symbol(byte): byte for byte in range(256)}
    backend = Backend(
        models.BPE(vocab={**symbols, **(vocab or {})}, merges=list(merges), **options)
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, "small")


def with_backend(change: Callable[[Backend], None]) -> Tokenizer:
    backend = Backend.from_str(BPE.to_json())
    change(backend)
    return Tokenizer(backend, "changed")


def normalizing(backend: Backend) -> None:
    backend.normalizer = normalizers.NFC()


def prefixing(backend: Backend) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def uncut(backend: Backend) -> None:
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def splitting(backend: Backend) -> None:
    backend.pre_tokenizer = pre_tokenizers.Whitespace()


def adding(backend: Backend) -> None:
    backend.add_tokens(["Emma"])


AB, BC, ABC = ("a", "b"), ("b", "c"), ("ab", "c")


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (wordpiece(), "its model is WordPiece, not BPE"),
        (with_backend(normalizing), "it normalizes text"),
        (with_backend(prefixing), "it does not cut text into words as GPT-2 does"),
        (with_backend(splitting), "it does not cut text into words as GPT-2 does"),
        (with_backend(uncut), "it does not cut text into words"),
        (with_backend(adding), "its added token 'Emma' is recognised in text"),
        (small(dropout=0.5), "it uses dropout"),
        (small(ignore_merges=True), "it uses ignore_merges"),
        (edited(BPE, vocab={"a": 0, "b": 1}, merges=[]), "its vocabulary lacks 254 of the 256"),
        (
            small({"ab": 257, "bc": 256}, [AB, BC]),
            "its ids do not follow the order of its merges",
        ),
        (
            small({"bc": 256, "ab": 257, "abc": 258}, [BC, AB, ABC]),
            "its token 'abc' is not what its own bytes are merged to",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_table_of_ranks_is_encoded_plainly(tokenizer: Tokenizer, reason: str) -> None:
    encoder = Encoder.choose(tokenizer, STORIES)
    assert encoder.path == "plain"
    assert encoder.reason.startswith(reason)
    with pytest.raises(UnsuitableError, match=reason.replace("(", r"\(")):
        Encoder(tokenizer, fast=True)
    if "dropout" not in reason:
        assert encoder.encode("abc").tolist() == tokenizer.encode("abc").tolist()


def test_the_last_of_these_would_have_gone_wrong_unnoticed() -> None:
    """The ids ascend and each merge is unique; still, tiktoken would join what must stay apart."""
    tokenizer = small({"bc": 256, "ab": 257, "abc": 258}, [BC, AB, ABC])
    assert tokenizer.encode("abc").tolist() == [97, 256]


def test_one_different_id_in_the_sample_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(BPE.encode(" asked")) == 1
    monkeypatch.setattr(encoding, "_GPT2_WORDS", f" as(?=ked)|{encoding._GPT2_WORDS}")
    assert Encoder.choose(BPE, ["nothing of the kind"]).path == "tiktoken"
    encoder = Encoder.choose(BPE, ["nothing of the kind", "he asked"])
    assert encoder.path == "plain"
    assert encoder.reason == "tiktoken gives other ids for 'he asked'"
    assert encoder.encode("he asked").tolist() == BPE.encode("he asked").tolist()


def test_the_proof_reads_no_more_of_the_sample_than_it_needs() -> None:
    endless = iter(lambda: STORIES[0], None)
    reason = Encoder.choose(FAST["bytes"].tokenizer, endless).reason
    assert f"{sum(map(len, NASTY_TEXTS)) + encoding.PROOF_CHARACTERS:,}" in reason


def test_without_tiktoken_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "find_spec", lambda _: None)
    encoder = Encoder.choose(BPE)
    assert encoder.path == "plain"
    assert "pip install 'ttt-data[fast]'" in encoder.reason


def test_importing_loads_no_library_of_tokenizers() -> None:
    program = (
        "import sys, ttt_data.encoding\n"
        "print(sorted({'tiktoken', 'tokenizers', 'regex', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.slow
def test_every_character_there_is_belongs_to_the_same_word() -> None:
    encoder = FAST["crossing"]
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        text = f"a{chr(code)}1{chr(code)}!{chr(code)}a  {chr(code)}x"
        assert encoder.encode(text).tolist() == encoder.tokenizer.encode(text).tolist(), hex(code)
