"""Documents to one stream of tokens."""

import numpy as np
import pytest

from ttt_data import Tokenizer, chronicles, packing

BPE = Tokenizer.load("bpe-4096")


def test_documents_are_laid_end_to_end_with_an_end_after_each() -> None:
    documents = ["One é.", "", "Two <eos>."]
    stream = packing.pack(iter(documents), BPE)
    expected = [id_ for text in documents for id_ in [*BPE.encode(text), BPE.eos_id]]
    assert stream.tokens.tolist() == expected
    assert stream.num_documents == 3
    assert stream.num_text_bytes == sum(len(text.encode()) for text in documents)
    assert np.count_nonzero(stream.tokens == BPE.eos_id) == 3


def test_the_batches_of_encoding_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [document.text for document in chronicles.documents("val", 6)]
    whole = packing.pack(texts, BPE).tokens
    monkeypatch.setattr(packing, "BATCH_CHARACTERS", 1)
    assert np.array_equal(packing.pack(texts, BPE).tokens, whole)


def test_no_documents_are_no_tokens() -> None:
    stream = packing.pack([], BPE)
    assert (len(stream.tokens), stream.num_documents, stream.num_text_bytes) == (0, 0, 0)


def test_the_dtype_is_the_smallest_that_holds_every_id() -> None:
    assert packing.pack(["a"], BPE).tokens.dtype == np.uint16
    assert packing.token_dtype(65_536) is np.uint16
    assert packing.token_dtype(65_537) is np.uint32


@pytest.mark.parametrize("name", ["bpe-4096", "bytes"])
def test_tags_follow_the_spans(name: str) -> None:
    tokenizer = Tokenizer.load(name)
    document = chronicles.document(0, split="val")
    ids, tags = packing.tag_tokens(document, tokenizer)
    assert ids.shape == tags.shape
    starts = np.concatenate(([0], np.cumsum(tokenizer.byte_lengths()[ids])))
    for start, end, kind in document.segments():
        inside = (starts[:-1] >= start) & (starts[1:] <= end)
        assert set(tags[inside]) <= {["filler", "name", "answer"].index(kind)}
    assert set(tags) == {packing.FILLER, packing.NAME, packing.ANSWER}


def test_tags_need_a_tokenizer_that_keeps_every_byte() -> None:
    document = chronicles.Document("é", ())
    with pytest.raises(ValueError, match="do not add up to the text"):
        packing.tag_tokens(document, BPE)
