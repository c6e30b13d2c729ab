"""Trains byte-level BPE tokenizers; the built-in one is rebuilt bit for bit from the chronicles."""

from collections.abc import Iterable, Iterator
from itertools import count

from ttt_config.errors import TokenizerError
from ttt_data import chronicles
from ttt_data.tokenizer import SPECIAL_TOKENS, Tokenizer

BUILTIN_NAME = "bpe-4096"
BUILTIN_VOCAB_SIZE = 4096
BUILTIN_TRAINING_BYTES = 4_000_000
SMALLEST_VOCAB_SIZE = len(SPECIAL_TOKENS) + 256


def train_bpe(texts: Iterable[str], vocab_size: int, name: str = "trained") -> Tokenizer:
    """Train a byte-level BPE tokenizer; equal texts in equal order give equal tokenizers.

    Args:
        texts: what to learn from; merges never cross the borders between them.
        vocab_size: entries, among them three special tokens and the 256 bytes.
        name: the name the tokenizer goes by.

    Raises:
        TokenizerError: the size is below 259, or there is too little text to learn so many entries.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size < SMALLEST_VOCAB_SIZE:
        raise TokenizerError(
            f"a vocabulary of {vocab_size} is too small: expected at least {SMALLEST_VOCAB_SIZE} "
            f"({len(SPECIAL_TOKENS)} special tokens and 256 bytes)"
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = Tokenizer(backend, name)
    if tokenizer.vocab_size < vocab_size:
        raise TokenizerError(
            f"too little text for a vocabulary of {vocab_size}: only {tokenizer.vocab_size} "
            "entries could be learned; give more text or ask for fewer"
        )
    return tokenizer


def train_builtin() -> Tokenizer:
    """Train the built-in tokenizer anew; its JSON is the committed file, byte for byte."""
    return train_bpe(builtin_training_texts(), BUILTIN_VOCAB_SIZE, BUILTIN_NAME)


def builtin_training_texts(num_bytes: int = BUILTIN_TRAINING_BYTES) -> Iterator[str]:
    """Yield the first chronicles of the training split, up to the one that reaches `num_bytes`."""
    total = 0
    for index in count():
        text = chronicles.document(index).text
        yield text
        total += len(text)
        if total >= num_bytes:
            return
