"""Documents to one stream of tokens."""

import numpy as np
import pytest

from ttt_data import Tokenizer, batches, chronicles, packing
from ttt_data.store.header import token_dtype

BPE = Tokenizer.load("bpe-4096")


def test_documents_are_laid_end_to_end_with_an_end_after_each() -> None:
    documents = ["One é.", "", "Two <eos>."]
    stream = packing.pack(iter(documents), BPE)
    expected = [id_ for text in documents for id_ in [*BPE.encode(text), BPE.eos_id]]
    assert stream.tokens(0, len(stream)).tolist() == expected
    ends = np.cumsum([len(BPE.encode(text)) + 1 for text in documents])
    assert stream.document_bounds.tolist() == [0, *ends]
    assert stream.text_bytes == sum(len(text.encode()) for text in documents)
    assert np.count_nonzero(stream.tokens(0, len(stream)) == BPE.eos_id) == 3


def test_the_batches_of_encoding_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [document.text for document in chronicles.documents("val", 6)]
    whole = packing.pack(texts, BPE)
    monkeypatch.setattr(batches, "BATCH_CHARACTERS", 1)
    assert packing.pack(texts, BPE).fingerprint == whole.fingerprint


def test_no_documents_are_no_tokens() -> None:
    stream = packing.pack([], BPE)
    assert (len(stream), len(stream.document_bounds), stream.text_bytes) == (0, 1, 0)


def test_the_dtype_is_the_smallest_that_holds_every_id() -> None:
    assert packing.pack(["a"], BPE).dtype == np.uint16
    assert token_dtype(65_536) is np.uint16
    assert token_dtype(65_537) is np.uint32


@pytest.mark.parametrize("name", ["bpe-4096", "bytes"])
def test_a_token_has_the_highest_mark_of_its_characters(name: str) -> None:
    tokenizer = Tokenizer.load(name)
    text = chronicles.document(0, split="val").text
    marks = np.random.default_rng(0).integers(0, 9, len(text), dtype=np.int8)
    ids, found = packing.mark_tokens(text, marks, tokenizer)
    ends = np.cumsum(tokenizer.byte_lengths()[ids]).tolist()
    starts = [0, *ends[:-1]]
    assert ends[-1] == len(text)
    assert found.tolist() == [
        marks[start:end].max() for start, end in zip(starts, ends, strict=True)
    ]


def test_marks_need_a_tokenizer_that_keeps_every_byte() -> None:
    with pytest.raises(ValueError, match="do not add up to the text"):
        packing.mark_tokens("\u00e9", np.zeros(1, dtype=np.int8), BPE)
