"""Documents to one row of tokens, an end-of-text token after each document."""

from collections.abc import Iterable
from itertools import chain

import numpy as np

from ttt_data.batches import BatchEncoder, batches
from ttt_data.encoding import Encoder
from ttt_data.store.header import token_dtype
from ttt_data.store.split import ShardedSplit, TokenSplit
from ttt_data.tokenizer import Tokenizer


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


def mark_tokens(
    text: str, marks: np.ndarray, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """Encode an ASCII text and give each token the highest mark of its characters.

    Args:
        text: characters that are bytes.
        marks: of each character, (characters,), any integer type.
        tokenizer: byte-level, so that `byte_lengths` is exact.

    Returns:
        The ids, (tokens,) int32, and the mark of each, (tokens,).

    Raises:
        ValueError: the tokens do not add up to the text.
    """
    ids = tokenizer.encode(text)
    ends = np.cumsum(tokenizer.byte_lengths()[ids])
    if len(ids) == 0 or ends[-1] != len(marks):
        raise ValueError("the tokens do not add up to the text; is the tokenizer byte-level?")
    return ids, np.maximum.reduceat(marks, np.concatenate(([0], ends[:-1])))
