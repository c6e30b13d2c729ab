"""Documents to tokens, a batch at a time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ttt_data.encoding import Encoder
from ttt_data.store.header import token_dtype

BATCH_CHARACTERS = 1 << 20


class EncodedBatch(NamedTuple):
    """Some documents as tokens.

    Attributes:
        tokens: of all the documents, each with its end-of-text token; in the type of the store.
        lengths: tokens of each document.
        text_bytes: length of each document's text in UTF-8.
    """

    tokens: np.ndarray
    lengths: list[int]
    text_bytes: list[int]

    def documents(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the tokens and the text bytes of each document."""
        start = 0
        for length, text_bytes in zip(self.lengths, self.text_bytes, strict=True):
            yield self.tokens[start : start + length], text_bytes
            start += length


class BatchEncoder:
    """Encodes batches of documents.

    Args:
        encoder: gives the ids of one text.

    Raises:
        TokenizerError: its tokenizer has no end-of-text token.
    """

    def __init__(self, encoder: Encoder) -> None:
        tokenizer = encoder.tokenizer
        self.encoder = encoder
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._eos = np.array([tokenizer.eos_id], dtype=self._dtype)

    def encode(self, texts: Sequence[str]) -> EncodedBatch:
        """Return the tokens of the texts, an end-of-text token after each."""
        pieces: list[np.ndarray] = []
        lengths: list[int] = []
        for ids in self.encoder.encode_batch(texts):
            pieces += (ids.astype(self._dtype), self._eos)
            lengths.append(len(ids) + 1)
        return EncodedBatch(np.concatenate(pieces), lengths, [len(text.encode()) for text in texts])


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Gather texts until they have `BATCH_CHARACTERS`, or more if a text is longer."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield list(batch)
            batch.clear()
            size = 0
    if batch:
        yield batch
