"""The fast way from text to ids, taken only where it is proven to be the same way.

tiktoken encodes several times as fast as the `tokenizers` library does, from a table that many
byte-level BPE tokenizers can be written as (`byte_ranks`). A vocabulary of single bytes needs no
more than a look-up.

    encoder = Encoder.choose(tokenizer, sample=texts)
    print(encoder.path, encoder.reason)
    ids = encoder.encode(text)

A tokenizer that cannot be written so, or with which one id of the proof differs, is used as it is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain
from typing import Literal

import numpy as np

from ttt_data.byte_ranks import UnsuitableError, byte_ranks
from ttt_data.tokenizer import Tokenizer

EncodingPath = Literal["tiktoken", "table", "plain"]

PROOF_CHARACTERS = 1_000_000
"""So much of a sample is encoded both ways before a fast path is taken."""

NASTY_TEXTS = (
    "",
    " ",
    "\n",
    "".join(map(chr, range(0x370))),  # controls, Latin, combining marks
    "I'm he's we'll they've you're I'd isn't I'M HE'S 's 't '' 'x ' s a's'd",
    "a  b   c\t\td \t e\n\nf\r\ng \n h   \n\n   ",
    # White space of all kinds, then what only looks like it.
    "\u00a0a\u00a0\u00a0b\u2003c\u2028d\u2029e\u3000f\u1680g\u202fh\u205fi\u0085j\x1ck\x1f l\x0bm",
    "\u200ba\u200cb\u200dc\u2060d\ufeffe\u180ef\u00adg\u2800h\u3164i",
    "x1y22z333 12,345.678e-9 \u00b2\u00bd\u2167\u2460\u0663\u0967\u17f4\U0001d7d9 0x1F \u3007",
    "e\u0301 \u0301 a\u0308\u0323o n\u0303\u0303 \u0915\u094d\u0937 \u0e01\u0e33 \u05e9\u05c1",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\u4e2d\u6587\u3002\u65e5\u672c\u8a9e\uff01\ud55c\uad6d\uc5b4 \u0420\u0443\u0441 \u0639\u0631",
    "\u1c89 \ua7cb \ua7da \U00010d50 \U0001e5d0 \U00016d40 \U000323b0",  # letters of 2022 to 2025
    "\ue000\uf8ff\ufdd0\ufffe\uffff\ufffd\U000e0001\U000f0000\U0010ffff",
    "<eos><pad> <bos></s>[EOS]<|endoftext|> <|im_start|>",
    "a" * 700 + "ab" * 400 + " " * 700 + "\n" * 700 + "z" + "-=" * 400 + "\u4e2d" * 300,
    "".join(f"a{char}1{char} {char}\n" for char in map(chr, range(0x370, 0xD800, 97))),
    "".join(f"a{char}1{char} {char}\n" for char in map(chr, range(0xE000, 0x110000, 997))),
)
"""Texts at which implementations of one tokenizer could differ."""

# The words of the byte-level pre-tokenizer of the `tokenizers` library. Letters, digits and signs
# share one group, in which only one can match: tiktoken is a third faster with it.
_GPT2_WORDS = r"'(?:[stmd]|re|ve|ll)| ?(?:\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+)|\s+(?!\S)|\s+"

# A single white space between two other characters begins a word, whatever else is around it. Only
# what is white space to everybody: Python counts U+001C to U+001F, which tokenizers do not.
_WORD_START = re.compile(r"(?<=\S)[ \t\n\r](?=\S)")

_SEGMENT_CHARACTERS = 1 << 20
_BLANK_CHARACTERS = 1 << 18


class Encoder:
    """Encodes exactly as a tokenizer does, faster where that can be had.

    `Encoder.choose` proves that first. The constructor takes it on trust, for a process that is
    told what another one has proven.

    Args:
        tokenizer: whose ids to give.
        fast: take the fast path.
        reason: why, or why not.

    Attributes:
        tokenizer: as above.
        path: `tiktoken`, or `table` for a vocabulary of single bytes, or `plain`: the tokenizer.
        reason: as above.

    Raises:
        UnsuitableError: there is no fast path for this tokenizer, or tiktoken is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, *, fast: bool, reason: str = "") -> None:
        self.tokenizer = tokenizer
        self.path: EncodingPath = "plain"
        self.reason = reason
        self._encode = tokenizer.encode
        if fast:
            ranks = byte_ranks(tokenizer.to_json())
            self.path = "table" if len(ranks) == 256 else "tiktoken"
            coder = _ByteTable(ranks) if self.path == "table" else _RankCoder(ranks, tokenizer)
            self._encode = coder.encode

    @classmethod
    def choose(cls, tokenizer: Tokenizer, sample: Iterable[str] = ()) -> "Encoder":
        """Take the fast path if there is one and it gives the tokenizer's ids.

        They are compared for `NASTY_TEXTS` and for the sample.

        Args:
            tokenizer: whose ids to give.
            sample: texts such as will be encoded; `PROOF_CHARACTERS` of them are used.
        """
        try:
            encoder = cls(tokenizer, fast=True)
        except UnsuitableError as error:
            return cls(tokenizer, fast=False, reason=str(error))
        num_characters = 0
        for text in chain(NASTY_TEXTS, _beginning(sample)):
            if not np.array_equal(encoder.encode(text), tokenizer.encode(text)):
                reason = f"{encoder.path} gives other ids for {text[:40]!r}"
                return cls(tokenizer, fast=False, reason=reason)
            num_characters += len(text)
        encoder.reason = f"gives the same ids for {num_characters:,} characters of proof"
        return encoder

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text, (tokens,), int32; as `Tokenizer.encode`."""
        return self._encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode several texts, as `encode` for each; the plain path uses all cores for it."""
        if self.path == "plain":
            return self.tokenizer.encode_batch(texts)
        return [self._encode(text) for text in texts]


class _ByteTable:
    """Every byte is a token."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        self._ids = np.array([ranks[bytes([byte])] for byte in range(256)], dtype=np.int32)

    def encode(self, text: str) -> np.ndarray:
        return self._ids[np.frombuffer(text.encode(), dtype=np.uint8)]


class _RankCoder:
    """tiktoken, kept from what it cannot do.

    Its lists of ids take some nine times the memory of the text, so a long text goes in segments.
    White space of a million characters overflows its stack, so such a segment is not for it.
    """

    def __init__(self, ranks: dict[bytes, int], tokenizer: Tokenizer) -> None:
        if find_spec("tiktoken") is None:
            raise UnsuitableError(
                "tiktoken is not installed; with it, `pip install 'ttt-data[fast]'`, "
                "encoding takes a fraction of the time"
            )
        import tiktoken

        self._coding = tiktoken.Encoding(
            tokenizer.name, pat_str=_GPT2_WORDS, mergeable_ranks=ranks, special_tokens={}
        )
        self._tokenizer = tokenizer

    def encode(self, text: str) -> np.ndarray:
        pieces = [self._encode_segment(segment) for segment in _segments(text)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _encode_segment(self, text: str) -> np.ndarray:
        if _has_long_blank(text):
            return self._tokenizer.encode(text)
        return np.array(self._coding.encode_ordinary(text), dtype=np.int32)


def _segments(text: str) -> Iterator[str]:
    """Cut a long text at starts of words, so that the ids of the parts are those of the whole."""
    start = 0
    while len(text) - start > _SEGMENT_CHARACTERS:
        cut = _WORD_START.search(text, start + _SEGMENT_CHARACTERS)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


def _has_long_blank(text: str) -> bool:
    """Whether a block of the text is blank, as one is in every blank run as long as two blocks."""
    starts = range(0, len(text) - _BLANK_CHARACTERS + 1, _BLANK_CHARACTERS)
    return any(text[start : start + _BLANK_CHARACTERS].isspace() for start in starts)


def _beginning(sample: Iterable[str]) -> Iterator[str]:
    """The first `PROOF_CHARACTERS` of the texts."""
    rest = PROOF_CHARACTERS
    for text in sample:
        yield text[:rest]
        rest -= len(text)
        if rest <= 0:
            return
