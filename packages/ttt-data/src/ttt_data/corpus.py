"""What a run reads: text, a prepared store, or the token files of another program, all as tokens.

corpus = open_corpus("data/books", Tokenizer.load("bpe-4096"))
loader = Loader(corpus.split("train"), seq_len=512, global_batch_size=8)
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from msgspec import Struct

from ttt_config import DataConfig
from ttt_config.errors import DataError, InvalidValueError
from ttt_data.packing import pack
from ttt_data.readers import Problem, Source, Split, open_source
from ttt_data.store import TokenSplit, TokenStore, detect_format, open_foreign, token_files
from ttt_data.store.header import token_bytes
from ttt_data.store.journal import JOURNAL_NAME
from ttt_data.store.manifest import MANIFEST_NAME
from ttt_data.store.part import SplitPart
from ttt_data.tokenizer import Tokenizer

_DEFAULTS = DataConfig()
_WEIGHT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*\*(?!\*|\.[^./])")  # not the pattern 3*.txt


class WeightedSource(NamedTuple):
    """One part of a mixture."""

    spec: str
    weight: float


class Corpus(Protocol):
    """Tokens in splits; a `TokenStore` is one."""

    def split(self, name: Split, /) -> TokenSplit:
        """Return the tokens of one split.

        Raises:
            DataError: there is no such split, or its text cannot be read.
        """
        ...


class TextCorpus:
    """Text that is encoded when a split is first asked for, and then held in memory.

    Attributes:
        problems: what could not be used of the splits read so far.
    """

    def __init__(self, source: Source, tokenizer: Tokenizer) -> None:
        self.problems: tuple[Problem, ...] = ()
        self._source = source
        self._tokenizer = tokenizer
        self._splits: dict[Split, TokenSplit] = {}

    def split(self, name: Split) -> TokenSplit:
        """As in `Corpus`."""
        if name not in self._splits:
            texts = (document.text for document in self._source.documents(name))
            self._splits[name] = pack(texts, self._tokenizer)
            self.problems = tuple(dict.fromkeys([*self.problems, *self._source.problems]))
        return self._splits[name]


class ForeignCorpus(Struct, frozen=True):
    """Token files of another program, see `ttt_data.store.foreign`."""

    spec: str
    splits: Mapping[Split, TokenSplit]

    def split(self, name: Split) -> TokenSplit:
        """As in `Corpus`."""
        if name not in self.splits:
            raise DataError(
                f"`{self.spec}` has no split {name}: expected one of {', '.join(self.splits)}; "
                f"name a file for it, as {name}.bin"
            )
        return self.splits[name]


def open_corpus(
    spec: str, tokenizer: Tokenizer, settings: DataConfig = _DEFAULTS
) -> TokenStore | ForeignCorpus | TextCorpus:
    """Open a source of tokens or text.

    Args:
        spec: the folder of a token store; token files of another program, or a folder or pattern
            of them; else text, as for `ttt_data.readers.open_source`.
        tokenizer: encodes text; tells where documents end in token files that do not.
        settings: how text is read and how much is held out.

    Raises:
        DataError: there is no such source, or it is damaged.
    """
    if is_store(spec):
        return TokenStore.open(spec)
    if files := token_files(spec):
        return ForeignCorpus(spec, _open_token_files(files, tokenizer, settings))
    source = open_source(
        spec,
        text_field=settings.text_field,
        separator=settings.separator,
        on_bad=settings.on_bad,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        num_documents=settings.documents,
    )
    return TextCorpus(source, tokenizer)


def is_store(spec: str) -> bool:
    """Whether it is the folder of a token store, finished or, which opening it will tell, not."""
    return any((Path(spec) / name).is_file() for name in (MANIFEST_NAME, JOURNAL_NAME))


def parse_mixture(text: str) -> list[WeightedSource]:
    """Read `SOURCE` or a mixture, `[weight *] SOURCE {, [weight *] SOURCE}`.

        data/books                     one source
        3*data/books,data/stories      three samples of the first for one of the second

    Raises:
        InvalidValueError: a part or a weight is empty.
    """
    if text and Path(text).exists():  # whatever its name is
        return [WeightedSource(text, 1.0)]
    parts: list[WeightedSource] = []
    for part in text.split(","):
        weight = _WEIGHT.match(part)
        spec = part[weight.end() if weight else 0 :].strip()
        if not spec:
            raise InvalidValueError(
                f"`{text}` is no mixture of sources: expected `3*data/books,data/stories`"
            )
        parts.append(WeightedSource(spec, float(weight[1]) if weight else 1.0))
    return parts


def _open_token_files(
    files: Mapping[Split | None, Sequence[Path]], tokenizer: Tokenizer, settings: DataConfig
) -> dict[Split, TokenSplit]:
    """The splits the names of the files decide, or else those cut from their end."""
    opened = {split: _open_split(paths, tokenizer) for split, paths in files.items()}
    if None in opened:
        return _hold_out(opened[None], settings)
    return {split: tokens for split, tokens in opened.items() if split is not None}


def _open_split(paths: Sequence[Path], tokenizer: Tokenizer) -> TokenSplit:
    if detect_format(paths[0]) == "llmc":  # llm.c puts the mark before a document, others after it
        return open_foreign(paths, bos_id=tokenizer.bos_id)
    dtype = "u16" if token_bytes(tokenizer.vocab_size) == 2 else "u32"
    return open_foreign(paths, dtype=dtype, eos_id=tokenizer.eos_id)


def _hold_out(whole: TokenSplit, settings: DataConfig) -> dict[Split, TokenSplit]:
    """Cut tokens into contiguous parts, training first, at the document border that is nearest."""
    bounds = whole.document_bounds
    parts: dict[Split, TokenSplit] = {}
    stop = len(whole)
    shares: dict[Split, float] = {"test": settings.test_fraction, "val": settings.val_fraction}
    for split, share in shares.items():
        if share:
            wanted = stop - round(len(whole) * share)
            border = int(bounds[np.abs(bounds - wanted).argmin()])
            start = border if 0 < border < stop else wanted
            parts[split] = SplitPart(whole, start, stop)
            stop = start
    return {"train": SplitPart(whole, 0, stop), **parts}
