"""The tokens of a run: one stream to train on, one to validate on."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ttt_config import DataError, RunConfig
from ttt_data import Batch, Loader, Tokenizer
from ttt_data.packing import TokenStream, pack
from ttt_data.sources import read_texts
from ttt_data.stats import unigram_entropy
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


def load_data(config: RunConfig, tokenizer: Tokenizer) -> TrainingData:
    """Read, tokenize and pack the text of a run.

    Raises:
        DataError: the text cannot be read, or is too short for one window.
    """
    settings = config.data
    texts = read_texts(
        settings.source, num_documents=settings.documents, val_fraction=settings.val_fraction
    )
    train, validation = pack(texts.train, tokenizer), pack(texts.val, tokenizer)
    return TrainingData(
        train=_loader(train, config, "training"),
        validation=_loader(validation, config, "validation"),
        documents=train.num_documents,
        text_bytes=train.num_text_bytes,
        tokens=len(train.tokens),
        unigram_entropy=unigram_entropy(train.tokens),
    )


def _loader(stream: TokenStream, config: RunConfig, split: str) -> Loader:
    try:
        return Loader(
            stream.tokens,
            seq_len=config.model.max_seq_len,
            global_batch_size=config.train.batch_size,
            seed=derive_seed(config.train.seed, "batches"),
        )
    except DataError as error:
        raise DataError(f"{split} split of `{config.data.source}`: {error}") from error
