"""The tokens of a run: some to train on, some to validate on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np

from ttt_config import DataConfig, DataError, IncompatibleError, RunConfig
from ttt_data import Batch, Loader, Tokenizer, TokenStore
from ttt_data.corpus import (
    Corpus,
    TextCorpus,
    WeightedSource,
    is_store,
    open_corpus,
    parse_mixture,
)
from ttt_data.loader import Mixture
from ttt_data.readers import Split
from ttt_data.seeds import derive_seed
from ttt_data.stats import entropy, token_counts
from ttt_data.store import TokenSplit


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
    """Nats a token; of a mixture, in the proportions it is read in."""
    left_out: tuple[str, ...]
    """What could not be used of the text, a line for each kind of problem."""

    def validation_batches(self, samples: int) -> Iterator[Batch]:
        """Give the first windows of the validation split in the order of the text; 0: all."""
        return first_windows(self.validation, samples or None)


def first_windows(loader: Loader, samples: int | None) -> Iterator[Batch]:
    """Yield the first windows of a text, in its order; None: all of them."""
    if samples is None:
        yield from loader.in_order()
        return
    whole, rest = divmod(samples, loader.global_batch_size)
    for number, batch in enumerate(islice(loader.in_order(), whole + bool(rest))):
        yield batch if number < whole else batch.rows(slice(rest))


def adopt_tokenizer(config: RunConfig) -> RunConfig:
    """Give a run on token stores the tokenizer of the stores; other runs stay as they are.

    The default of `data.tokenizer` counts as no choice.

    Raises:
        DataError: a store or the tokenizer cannot be read.
        IncompatibleError: another tokenizer was chosen, or the stores differ in theirs.
    """
    for part in parse_mixture(config.data.source):
        if not is_store(part.spec):
            continue
        store = TokenStore.open(part.spec)
        if config.data.tokenizer == DataConfig().tokenizer:
            data = msgspec.structs.replace(config.data, tokenizer=str(store.tokenizer_path))
            config = msgspec.structs.replace(config, data=data)
        elif Tokenizer.load(config.data.tokenizer).sha256 != store.manifest.tokenizer.sha256:
            raise IncompatibleError(
                f"`data.tokenizer` is `{config.data.tokenizer}`, but `{part.spec}` was prepared "
                "with another tokenizer; leave it out to use that one, or prepare the text again"
            )
    return config


def load_data(config: RunConfig, tokenizer: Tokenizer) -> TrainingData:
    """Open the token stores and token files of a run; read, tokenize and pack its text.

    Raises:
        DataError: the data cannot be read, is too short for one window, or is not of this
            tokenizer.
    """
    parts = parse_mixture(config.data.source)
    corpora = [open_corpus(part.spec, tokenizer, config.data) for part in parts]
    train = _splits(corpora, "train")
    counts = [_counts(tokens, tokenizer, part) for tokens, part in zip(train, parts, strict=True)]
    total = sum(part.weight for part in parts)
    shares = sum(
        part.weight / total * each / each.sum() for part, each in zip(parts, counts, strict=True)
    )
    return TrainingData(
        train=_loader(train, parts, config, "train"),
        validation=_loader(_splits(corpora, "val"), parts, config, "val"),
        documents=sum(len(tokens.document_bounds) - 1 for tokens in train),
        text_bytes=int(sum(counts) @ tokenizer.byte_lengths()),
        tokens=sum(map(len, train)),
        unigram_entropy=entropy(np.asarray(shares)),
        left_out=tuple(
            str(problem)
            for corpus in corpora
            if isinstance(corpus, TextCorpus)
            for problem in corpus.problems
        ),
    )


def load_split(config: RunConfig, tokenizer: Tokenizer, split: Split) -> tuple[Loader, int]:
    """Open one split of the data of a configuration, to be read in the order of the text.

    Returns:
        Its windows, `train.batch_size` of them in a batch, and how many documents they are from.

    Raises:
        DataError: as `load_data`.
    """
    parts = parse_mixture(config.data.source)
    corpora = [open_corpus(part.spec, tokenizer, config.data) for part in parts]
    splits = _splits(corpora, split)
    for tokens, part in zip(splits, parts, strict=True):
        _counts(tokens, tokenizer, part)
    documents = sum(len(tokens.document_bounds) - 1 for tokens in splits)
    return _loader(splits, parts, config, split), documents


def _splits(corpora: Sequence[Corpus], name: Split) -> list[TokenSplit]:
    return [corpus.split(name) for corpus in corpora]


def _counts(tokens: TokenSplit, tokenizer: Tokenizer, part: WeightedSource) -> np.ndarray:
    """How often each id of the tokenizer occurs, (vocab_size,)."""
    counts = token_counts(tokens)
    if len(counts) > tokenizer.vocab_size:
        raise DataError(
            f"`{part.spec}` holds the token {len(counts) - 1}, but the tokenizer "
            f"`{tokenizer.name}` has {tokenizer.vocab_size} tokens; name the one that it was made "
            "with by --tokenizer"
        )
    return np.pad(counts, (0, tokenizer.vocab_size - len(counts)))


def _loader(
    splits: Sequence[TokenSplit], parts: Sequence[WeightedSource], config: RunConfig, split: Split
) -> Loader:
    weights = [part.weight for part in parts]
    # Accumulation spreads the batch of a step only: an evaluation reads no more rows at once.
    micro_batches = config.train.grad_accum_steps if split == "train" else 1
    try:
        return Loader(
            Mixture(list(zip(splits, weights, strict=True))),
            seq_len=config.model.max_seq_len,
            global_batch_size=config.train.batch_size * micro_batches,
            seed=derive_seed(config.train.seed, "batches"),
            mode=config.data.mode,
            shuffle=config.data.shuffle,
        )
    except DataError as error:
        kind = {"train": "training", "val": "validation", "test": "test"}[split]
        raise DataError(f"{kind} split of `{config.data.source}`: {error}") from error
