"""A byte-level BPE tokenizer as a table of ranks, which is all that tiktoken needs to know of one.

The `tokenizers` library merges the pair of neighbours that stands first in a list of merges;
tiktoken merges the neighbours whose joined bytes have the lowest rank. With ids as ranks both do
the same if ids grow in the order of the merges and every token is what its own bytes are merged to.
For suppose the two first differ at neighbours x and y: their joined bytes are a token t, but (x, y)
is no merge. Nothing was merged across the ends of t before, so t's bytes by themselves come to x
and y as well and can go no further, although they should become t.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ttt_config.errors import TokenizerError
from ttt_data.tokenizer import byte_symbol


class UnsuitableError(TokenizerError):
    """A tokenizer is a good one, but not one that can be written as a table of ranks."""


def byte_ranks(tokenizer_json: str) -> dict[bytes, int]:
    """Return the id of every single byte and of every run of bytes that merges make.

    Args:
        tokenizer_json: as `Tokenizer.to_json` writes it.

    Raises:
        UnsuitableError: ids are not ranks, or text is not cut into words as GPT-2 does it.
    """
    content = json.loads(tokenizer_json)
    _check_kind(content)
    vocab, merges = content["model"]["vocab"], content["model"]["merges"]
    bytes_of = {byte_symbol(byte): bytes([byte]) for byte in range(256)}
    if missing := bytes_of.keys() - vocab.keys():
        raise UnsuitableError(f"its vocabulary lacks {len(missing)} of the 256 bytes")
    merged = ["".join(pair) for pair in merges]
    _check_merges(vocab, merges, merged)
    return {
        b"".join(bytes_of[symbol] for symbol in token): vocab[token]
        for token in (*bytes_of, *merged)
    }


def _check_kind(content: Mapping[str, Any]) -> None:
    """Refuse what is not plain byte-level BPE on GPT-2's words."""
    model, words = content["model"], content["pre_tokenizer"]
    if model["type"] != "BPE":
        raise UnsuitableError(f"its model is {model['type']}, not BPE")
    if content["normalizer"] is not None:
        raise UnsuitableError("it normalizes text")
    if not words or words["type"] != "ByteLevel" or words["add_prefix_space"]:
        raise UnsuitableError("it does not cut text into words as GPT-2 does")
    if model["merges"] and not words["use_regex"]:
        raise UnsuitableError("it does not cut text into words")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"):
        if model[option]:
            raise UnsuitableError(f"it uses {option}")
    for token in content["added_tokens"]:
        if not token["special"]:
            raise UnsuitableError(f"its added token {token['content']!r} is recognised in text")


def _check_merges(
    vocab: dict[str, int], merges: Sequence[Sequence[str]], merged: Sequence[str]
) -> None:
    """Refuse merges whose tokens do not follow them in order, or are not reached by merging."""
    from tokenizers.models import BPE

    ids = [vocab[token] for token in merged]
    if ids != sorted(set(ids)):
        raise UnsuitableError("its ids do not follow the order of its merges")
    bpe = BPE(vocab=vocab, merges=[(left, right) for left, right in merges])
    for token in merged:
        if len(bpe.tokenize(token)) > 1:
            raise UnsuitableError(f"its token {token!r} is not what its own bytes are merged to")
