"""What there is to do: one pass over each split of each source, and how long it will be."""

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers import Source, Split

SPLITS: tuple[Split, ...] = ("val", "test", "train")
"""In the order they are prepared: what is wrong with a source shows in a short split, too."""

MAX_DOCUMENT_BYTES = 1 << 29
"""A document takes some eight times its size of memory."""

_COMPRESSED = (".gz", ".zst", ".parquet")


class Pass(Struct, frozen=True):
    """One split of one source.

    Attributes:
        source: its index.
        split: what to read of it.
        weight: how much there is, in a unit of the source: bytes on the disk, or documents.
    """

    source: int
    split: Split
    weight: float


def plan_passes(sources: Sequence[Source]) -> list[Pass]:
    """Return the passes in order. Files are hashed for it, see `Source.provenance`."""
    weights = [_weights(source) for source in sources]
    return [
        Pass(index, split, weights[index][split])
        for split in SPLITS
        for index in range(len(sources))
        if weights[index][split] > 0
    ]


def check_documents(source: Source) -> None:
    """Refuse text files that would have to be held in memory as one huge document.

    Raises:
        DataError: there is such a file.
    """
    facts = msgspec.convert(source.provenance.facts, _Facts)
    if facts.separator is not None:
        return
    for file, format_ in zip(source.provenance.files, facts.formats, strict=True):
        if format_ == "text" and file.bytes > MAX_DOCUMENT_BYTES:
            raise DataError(
                f"`{file.name}` would be one document of {file.bytes:,} bytes, expected at most "
                f"{MAX_DOCUMENT_BYTES:,}; name what stands between its documents as the separator, "
                "or cut the file into several"
            )


class Estimate:
    """How many bytes of text all passes come to, judged by those that are over.

    Args:
        sources: what is read.
        passes: what `plan_passes` returned for them.
    """

    def __init__(self, sources: Sequence[Source], passes: Sequence[Pass]) -> None:
        self._open = list(passes)
        self._finished_bytes = 0
        # Text bytes for a unit of weight. For plain files one for one is a fair guess.
        self._density = [1.0 if _is_plain(source) else None for source in sources]

    def finish(self, text_bytes: int) -> None:
        """Take in that the next pass is over and how many bytes of text it gave."""
        done = self._open.pop(0)
        self._finished_bytes += text_bytes
        self._density[done.source] = text_bytes / done.weight

    @property
    def total_bytes(self) -> int | None:
        """Bytes of text of all passes; None as long as a source has given no hint."""
        total = float(self._finished_bytes)
        for each in self._open:
            density = self._density[each.source]
            if density is None:
                return None
            total += each.weight * density
        return round(total)


class _Facts(Struct):
    """What the provenance of a source says of its files and splits."""

    separator: str | None = None
    formats: list[str] = []
    fractions: dict[Split, float] = {}
    splits: list[Split | None] = []
    documents: dict[Split, int] = {}


def _weights(source: Source) -> dict[Split, float]:
    """How much each split of a source has; nothing where there is no such split."""
    facts = msgspec.convert(source.provenance.facts, _Facts)
    if facts.documents:
        return {split: float(facts.documents[split]) for split in SPLITS}
    sizes: Counter[Split] = Counter()
    for file, split in zip(source.provenance.files, facts.splits, strict=True):
        sizes[split or "train"] += file.bytes
    pool = sizes["train"] or 1  # the documentation of Python is in no file of its own
    held_out = {split: pool * share for split, share in facts.fractions.items()}
    return {
        "train": pool - sum(held_out.values()),
        "val": held_out["val"] + sizes["val"],
        "test": held_out["test"] + sizes["test"],
    }


def _is_plain(source: Source) -> bool:
    files = source.provenance.files
    return bool(files) and not any(file.name.lower().endswith(_COMPRESSED) for file in files)
