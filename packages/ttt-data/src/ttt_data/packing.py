"""Documents to one flat stream of tokens, an end-of-text token after each document."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct

from ttt_data.chronicles import Document
from ttt_data.store.header import token_bytes
from ttt_data.tokenizer import Tokenizer

BATCH_CHARACTERS = 1 << 20
"""Texts are encoded together up to about this many characters."""

FILLER, NAME, ANSWER = 0, 1, 2
"""What `tag_tokens` says of a token."""


class TokenStream(Struct, frozen=True):
    """A packed corpus.

    Attributes:
        tokens: (tokens,), uint16 or, for vocabularies above 65,536 entries, uint32.
        num_documents: documents in it, and so end-of-text tokens.
        num_text_bytes: length of the texts in UTF-8, for bits per byte.
    """

    tokens: np.ndarray
    num_documents: int
    num_text_bytes: int


def pack(documents: Iterable[str], tokenizer: Tokenizer) -> TokenStream:
    """Encode the documents and lay them end to end, `tokenizer.eos_id` after each.

    Raises:
        TokenizerError: the tokenizer has no end-of-text token.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    eos = np.array([tokenizer.eos_id], dtype=dtype)
    pieces: list[np.ndarray] = []
    num_documents = num_text_bytes = 0
    for texts in _batches(documents):
        num_documents += len(texts)
        num_text_bytes += sum(len(text.encode()) for text in texts)
        for ids in tokenizer.encode_batch(texts):
            pieces += (ids.astype(dtype), eos)
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=dtype)
    return TokenStream(tokens, num_documents, num_text_bytes)


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the smallest of uint16 and uint32 that holds every id."""
    return np.uint16 if token_bytes(vocab_size) == 2 else np.uint32


def tag_tokens(document: Document, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Encode a chronicle and say what each token is part of.

    Args:
        document: a chronicle; its text is ASCII, so characters are bytes.
        tokenizer: byte-level, so that `byte_lengths` is exact.

    Returns:
        The ids, (tokens,) int32, and for each of them `FILLER`, `NAME` or `ANSWER`, (tokens,)
        uint8. A token that overlaps several spans counts for the highest of these.
    """
    kinds = np.zeros(len(document.text), dtype=np.uint8)
    for start, end, kind in document.spans:
        kinds[start:end] = NAME if kind == "name" else ANSWER
    ids = tokenizer.encode(document.text)
    ends = np.cumsum(tokenizer.byte_lengths()[ids])
    if len(ids) == 0 or ends[-1] != len(kinds):
        raise ValueError("the tokens do not add up to the text; is the tokenizer byte-level?")
    return ids, np.maximum.reduceat(kinds, np.concatenate(([0], ends[:-1])))


def _batches(documents: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield tuple(batch)
            batch.clear()
            size = 0
    if batch:
        yield batch
