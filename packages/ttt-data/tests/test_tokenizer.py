"""Tokenizers: round trips, special tokens, foreign files, streaming, errors."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from ttt_config.errors import TokenizerError
from ttt_data import Tokenizer, chronicles

BUILTIN_SHA256 = "0da93f4895625d554822dd15c79d7752db5ebfeb720e1b981b9dd1b21580bc68"
BYTES_SHA256 = "d036e54ce5b62e35af073e96513a3e710e99101d55a6adc451480e41cb89c607"

BPE = Tokenizer.load("bpe-4096")
BYTES = Tokenizer.load("bytes")
both = pytest.mark.parametrize("tokenizer", [BPE, BYTES], ids=["bpe-4096", "bytes"])
texts = st.text(max_size=60)


def test_the_committed_tokenizer_is_the_pinned_one() -> None:
    data = resources.files("ttt_data").joinpath("builtin/bpe-4096.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == BUILTIN_SHA256


def test_the_ids_of_the_byte_tokenizer_are_fixed() -> None:
    assert BYTES.encode("\x00aé\n").tolist() == [3, 3 + 97, 3 + 0xC3, 3 + 0xA9, 3 + 10]
    assert BYTES.sha256 == BYTES_SHA256


@both
def test_special_ids_and_size(tokenizer: Tokenizer) -> None:
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id) == (0, 1, 2)
    assert tokenizer.vocab_size == {"bpe-4096": 4096, "bytes": 259}[tokenizer.name]


@both
@given(text=texts)
def test_every_text_survives_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text


@both
@given(text=texts)
def test_byte_lengths_add_up_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


@both
def test_special_tokens_stand_for_no_bytes(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths[:3].tolist() == [0, 0, 0]
    assert lengths[3:].min() == 1


@both
@pytest.mark.parametrize("literal", ["<eos>", "<pad>", "a <bos> b", "x<eos><eos>"])
def test_text_never_becomes_a_special_token(tokenizer: Tokenizer, literal: str) -> None:
    ids = tokenizer.encode(literal)
    assert ids.min() > 2
    assert tokenizer.decode(ids) == literal
    assert np.array_equal(tokenizer.encode_batch([literal])[0], ids)


@both
def test_a_batch_encodes_like_single_texts(tokenizer: Tokenizer) -> None:
    stories = [document.text for document in chronicles.documents("val", 5)]
    batch = tokenizer.encode_batch(stories)
    for ids, text in zip(batch, stories, strict=True):
        assert np.array_equal(ids, tokenizer.encode(text))


@both
def test_special_tokens_are_skipped_unless_asked_for(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode("hi"), tokenizer.eos_id]
    assert tokenizer.decode(ids) == "hi"
    assert tokenizer.decode(ids, skip_special=False).replace(" ", "") == "<bos>hi<eos>"


@both
@settings(max_examples=200)
@given(data=st.data())
def test_streaming_gives_the_same_text_and_never_half_a_character(
    tokenizer: Tokenizer, data: st.DataObject
) -> None:
    """Also for ids a half-trained model may emit: specials, and bytes that are not UTF-8."""
    ids = data.draw(
        st.lists(st.integers(0, 258), max_size=40)
        | texts.map(lambda t: tokenizer.encode(t).tolist())
    )
    stream = tokenizer.decode_stream()
    pieces = [stream.push(id_) for id_ in ids]
    assert not any(piece.endswith("\ufffd") for piece in pieces)
    assert "".join(pieces) + stream.finish() == tokenizer.decode(ids)
    assert stream.finish() == ""


def test_streaming_gives_out_text_as_soon_as_it_is_certain() -> None:
    stream = BYTES.decode_stream()
    assert [stream.push(id_) for id_ in BYTES.encode("aé!")] == ["a", "", "é", "!"]


@both
def test_a_stored_copy_is_equal(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json(), "utf-8")
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        copy = Tokenizer.load(place)
        assert copy == tokenizer
        assert hash(copy) == hash(tokenizer)
        assert copy.vocab_size == tokenizer.vocab_size
        assert copy.encode("Zoë <eos>").tolist() == tokenizer.encode("Zoë <eos>").tolist()
        assert np.array_equal(copy.byte_lengths(), tokenizer.byte_lengths())
    assert BPE != BYTES
    assert repr(BYTES).startswith("Tokenizer('bytes', vocab_size=259")


def test_the_hash_ignores_spaces_and_order_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(BPE.to_json()), indent=1), "utf-8")
    assert Tokenizer.load(path).sha256 == BPE.sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bpe-4069", r"unknown tokenizer `bpe-4069`: expected bpe-4096, bytes.*mean `bpe-4096`\?"),
        ("a b", r"unknown tokenizer `a b`: expected .* tokenizer.json or its folder, or a name on"),
        ("tok.json", r"unknown tokenizer `tok.json`: expected bpe-4096, bytes, the path of a tok"),
    ],
)
def test_an_unknown_name_lists_the_options_in_one_line(name: str, message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        Tokenizer.load(name)
    assert "\n" not in str(caught.value)


def test_a_folder_without_tokenizer_and_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json in the folder"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"is not a tokenizer\.json of the Hugging Face"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(TokenizerError, match="cannot read tokenizer"):
        Tokenizer.load(tmp_path)


def foreign(vocab: list[str], specials: list[str]) -> Tokenizer:
    ids = {token: id_ for id_, token in enumerate(vocab)}
    unknown = vocab[0]
    backend = Backend(models.WordPiece(vocab=ids, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(specials)
    return Tokenizer(backend, "foreign")


def test_special_ids_are_searched_by_name() -> None:
    bert = foreign(["[UNK]", "[PAD]", "a", "##b"], ["[UNK]", "[PAD]", "[BOS]", "[EOS]"])
    assert (bert.pad_id, bert.bos_id, bert.eos_id) == (1, 4, 5)
    llama = foreign(["[UNK]", "a"], ["<s>", "</s>"])
    assert (llama.bos_id, llama.eos_id) == (2, 3)


def test_padding_is_never_the_end_of_text() -> None:
    gpt2 = foreign(["[UNK]", "a"], ["<|endoftext|>"])
    assert gpt2.eos_id == gpt2.bos_id == 2
    assert gpt2.pad_id is None


def test_a_tokenizer_without_end_of_text_says_so() -> None:
    with pytest.raises(TokenizerError, match="`foreign` has no end-of-text token: expected one of"):
        foreign(["[UNK]", "a"], []).eos_id  # noqa: B018 - the property raises


def test_truncation_stored_in_a_file_does_not_cut_documents() -> None:
    backend = Backend.from_str(BPE.to_json())
    backend.enable_truncation(4)
    backend.enable_padding(length=4)
    loaded = Tokenizer.from_json(backend.to_str(), "cut")
    assert len(loaded.encode("one two three four five six seven")) > 4
    assert len(loaded.encode("a")) == 1


def test_byte_lengths_of_other_kinds_of_tokenizer() -> None:
    pieces = foreign(["[UNK]", "ab", "##ç"], ["[UNK]", "[EOS]"])
    assert pieces.byte_lengths().tolist() == [0, 3, 2, 0]
    backend = Backend(models.BPE(vocab={"<0x0A>": 0, "\u2581the": 1, "é": 2}, merges=[]))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    backend.add_special_tokens(["</s>"])
    assert Tokenizer(backend, "llama").byte_lengths().tolist() == [1, 4, 2, 0]
