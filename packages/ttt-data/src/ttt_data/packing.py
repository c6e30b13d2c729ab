"""Documents to one row of tokens, an end-of-text token after each document."""

from collections.abc import Iterable
from itertools import chain

import numpy as np

from ttt_data.batches import BatchEncoder, batches
from ttt_data.chronicles import Document
from ttt_data.encoding import Encoder
from ttt_data.store.header import token_dtype
from ttt_data.store.split import ShardedSplit, TokenSplit
from ttt_data.tokenizer import Tokenizer

FILLER, NAME, ANSWER = 0, 1, 2
"""What `tag_tokens` says of a token."""


def pack(documents: Iterable[str], tokenizer: Tokenizer) -> TokenSplit:
    """Encode the documents and lay them end to end in memory, `tokenizer.eos_id` after each.

    The tokens are uint16, or uint32 for vocabularies above 65,536 entries.

    Raises:
        TokenizerError: the tokenizer has no end-of-text token.
    """
    waiting = batches(documents)
    first = next(waiting, [])
    encoder = BatchEncoder(Encoder.choose(tokenizer, first))
    pieces = [np.empty(0, dtype=token_dtype(tokenizer.vocab_size))]
    lengths: list[int] = []
    text_bytes = 0
    for batch in chain([first] if first else [], waiting):
        encoded = encoder.encode(batch)
        pieces.append(encoded.tokens)
        lengths += encoded.lengths
        text_bytes += sum(encoded.text_bytes)
    bounds = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return ShardedSplit([np.concatenate(pieces)], read_bounds=lambda: bounds, text_bytes=text_bytes)


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
