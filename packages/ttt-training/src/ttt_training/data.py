"""The tokens of a run: one stream to train on, one to validate on."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from ttt_config import DataConfig, DataError, IncompatibleError, RunConfig
from ttt_data import Batch, Loader, Tokenizer
from ttt_data.packing import pack
from ttt_data.sources import read_texts
from ttt_data.stats import unigram_entropy
from ttt_data.store import TokenSplit, TokenStore
from ttt_data.store.journal import JOURNAL_NAME
from ttt_data.store.manifest import MANIFEST_NAME
from ttt_training.seeds import derive_seed


@dataclass(frozen=True)
class TrainingData:
    """Batches of both splits, and how much text they come from."""

    train: Loader
    validation: Loader
    documents: int
    """Documents of the training split, as `text_bytes`, `tokens` and `unigram_entropy`."""
    text_bytes: int
    tokens: int
    unigram_entropy: float
    """Nats a token."""

    def validation_batches(self, count: int) -> Iterator[Batch]:
        """Give the first batches of the validation split, in the order of the text."""
        return islice(self.validation.in_order(), count)


def adopt_tokenizer(config: RunConfig) -> RunConfig:
    """Give a run on a token store the tokenizer of the store; other runs stay as they are.

    The default of `data.tokenizer` counts as no choice.

    Raises:
        DataError: the store or the tokenizer cannot be read.
        IncompatibleError: another tokenizer was chosen.
    """
    if not _is_store(config.data.source):
        return config
    store = TokenStore.open(config.data.source)
    chosen = config.data.tokenizer
    if chosen == DataConfig().tokenizer:
        data = msgspec.structs.replace(config.data, tokenizer=str(store.tokenizer_path))
        return msgspec.structs.replace(config, data=data)
    if Tokenizer.load(chosen).sha256 != store.manifest.tokenizer.sha256:
        raise IncompatibleError(
            f"`data.tokenizer` is `{chosen}`, but `{config.data.source}` was prepared with another "
            "tokenizer; leave it out to use that one, or prepare the text again"
        )
    return config


def load_data(config: RunConfig, tokenizer: Tokenizer) -> TrainingData:
    """Open the token store of a run, or read, tokenize and pack its text.

    Raises:
        DataError: the text cannot be read, or is too short for one window.
    """
    settings = config.data
    if _is_store(settings.source):
        return _open_store(config)
    texts = read_texts(
        settings.source, num_documents=settings.documents, val_fraction=settings.val_fraction
    )
    train, validation = pack(texts.train, tokenizer), pack(texts.val, tokenizer)
    return TrainingData(
        train=_loader(train.tokens, config, "training"),
        validation=_loader(validation.tokens, config, "validation"),
        documents=train.num_documents,
        text_bytes=train.num_text_bytes,
        tokens=len(train.tokens),
        unigram_entropy=unigram_entropy(train.tokens),
    )


def _is_store(source: str) -> bool:
    """Whether it is the folder of a token store, finished or, which opening it will tell, not."""
    return any((Path(source) / name).is_file() for name in (MANIFEST_NAME, JOURNAL_NAME))


def _open_store(config: RunConfig) -> TrainingData:
    store = TokenStore.open(config.data.source)
    train = store.split("train")
    summary = store.manifest.splits["train"]
    return TrainingData(
        train=_loader(train, config, "training"),
        validation=_loader(store.split("val"), config, "validation"),
        documents=summary.num_documents,
        text_bytes=summary.text_bytes,
        tokens=summary.num_tokens,
        unigram_entropy=unigram_entropy(train),
    )


def _loader(tokens: np.ndarray | TokenSplit, config: RunConfig, split: str) -> Loader:
    try:
        return Loader(
            tokens,
            seq_len=config.model.max_seq_len,
            global_batch_size=config.train.batch_size,
            seed=derive_seed(config.train.seed, "batches"),
        )
    except DataError as error:
        raise DataError(f"{split} split of `{config.data.source}`: {error}") from error
