"""One split of a corpus: a long row of tokens, cut into documents."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

CHUNK_TOKENS = 1 << 20


class TokenSplit(Protocol):
    """What a loader reads, whatever file format is behind it.

    Places count tokens from 0 over the whole split. No tokens are held in memory.
    """

    @property
    def dtype(self) -> np.dtype:
        """Integer type of the tokens."""
        ...

    @property
    def document_bounds(self) -> np.ndarray:
        """Place where each document begins, then the length; (documents + 1,) int64."""
        ...

    @property
    def text_bytes(self) -> int | None:
        """Bytes of the text, in UTF-8, that became the tokens; None if the format cannot say."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes with any token or document border."""
        ...

    def __len__(self) -> int:
        """Return the number of tokens."""
        ...

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Return the tokens from `start` up to `stop`, read-only; a view where they lie together.

        Raises:
            IndexError: not 0 <= start <= stop <= len.
        """
        ...

    def take(self, offsets: np.ndarray) -> np.ndarray:
        """Return the tokens at these places, in the shape of `offsets`, any integer type.

        Raises:
            IndexError: a place is negative or not below len.
        """
        ...


class ShardedSplit:
    """A `TokenSplit` whose tokens lie end to end in one or several memory-mapped arrays.

    Args:
        shards: (tokens,) each, all of one type.
        read_bounds: returns `document_bounds`; called when they are first needed.
        text_bytes: as in `TokenSplit`.
        fingerprint: as in `TokenSplit`; None to hash the tokens when it is first needed.
    """

    def __init__(
        self,
        shards: Sequence[np.ndarray],
        *,
        read_bounds: Callable[[], np.ndarray],
        text_bytes: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.dtype = shards[0].dtype
        self.text_bytes = text_bytes
        self._shards = shards
        self._read_bounds = read_bounds
        self._fingerprint = fingerprint
        self._starts = np.cumsum([0, *map(len, shards)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def document_bounds(self) -> np.ndarray:
        """As in `TokenSplit`."""
        return self._read_bounds()

    @cached_property
    def fingerprint(self) -> str:
        """As in `TokenSplit`."""
        return self._fingerprint or hash_tokens(self)

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """As in `TokenSplit`; copies only across the border of two shards."""
        check_range(start, stop, len(self))
        first = self._shard_of(start)
        last = max(first, self._shard_of(stop - 1))
        pieces = [
            shard[max(0, start - begin) : max(0, stop - begin)]
            for shard, begin in zip(
                self._shards[first : last + 1], self._starts[first : last + 1], strict=True
            )
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def take(self, offsets: np.ndarray) -> np.ndarray:
        """As in `TokenSplit`."""
        check_offsets(offsets, len(self))
        if len(self._shards) == 1:
            return self._shards[0][offsets]
        taken = np.empty(offsets.shape, self.dtype)
        of_shard = self._starts.searchsorted(offsets, side="right") - 1
        for index in np.flatnonzero(np.bincount(of_shard.ravel())).tolist():
            chosen = of_shard == index
            taken[chosen] = self._shards[index][offsets[chosen] - self._starts[index]]
        return taken

    def _shard_of(self, place: int) -> int:
        index = int(self._starts.searchsorted(place, side="right")) - 1
        return min(max(index, 0), len(self._shards) - 1)


def map_tokens(path: Path, dtype: np.dtype, *, offset: int, count: int) -> np.ndarray:
    """Map tokens of a file into memory, (count,), read-only."""
    if count == 0:
        return np.empty(0, dtype)  # the system maps nothing of no length
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,)))


def join_bounds(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Return the document bounds of parts that are laid end to end, given those of each."""
    joined = [np.zeros(1, dtype=np.int64)]
    length = 0
    for bounds in parts:
        joined.append(bounds[1:] + length)
        length += int(bounds[-1])
    return np.concatenate(joined)


def iterate_chunks(split: TokenSplit) -> Iterator[np.ndarray]:
    """Yield all tokens of a split in pieces of up to `CHUNK_TOKENS`."""
    for start in range(0, len(split), CHUNK_TOKENS):
        yield split.tokens(start, min(start + CHUNK_TOKENS, len(split)))


def hash_tokens(split: TokenSplit) -> str:
    """Return the SHA-256 over tokens and document bounds, whatever the format and integer type."""
    digest = hashlib.sha256()
    for chunk in iterate_chunks(split):
        digest.update(chunk.astype("<u4").tobytes())
    digest.update(split.document_bounds.astype("<i8").tobytes())
    return digest.hexdigest()


def check_range(start: int, stop: int, length: int) -> None:
    """Refuse a range of tokens that is not in the split.

    Raises:
        IndexError: not 0 <= start <= stop <= length.
    """
    if not 0 <= start <= stop <= length:
        raise IndexError(f"tokens {start} to {stop} are not within the {length} of the split")


def check_offsets(offsets: np.ndarray, length: int) -> None:
    """Refuse places that are not in the split.

    Raises:
        IndexError: a place is negative or not below `length`.
    """
    if offsets.size and (offsets.min() < 0 or offsets.max() >= length):
        raise IndexError(
            f"places {offsets.min()} to {offsets.max()} are not within the {length} of the split"
        )
