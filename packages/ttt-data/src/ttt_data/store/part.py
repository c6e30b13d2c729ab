"""A stretch of a split, as a split."""

import hashlib

import numpy as np

from ttt_data.store.split import TokenSplit, check_offsets, check_range


class SplitPart:
    """The tokens of a split from one place up to another; a `TokenSplit` itself.

    Args:
        whole: the split it is a part of.
        start: its first token.
        stop: the token after its last.

    Raises:
        IndexError: not 0 <= start <= stop <= len(whole).
    """

    text_bytes: int | None = None

    def __init__(self, whole: TokenSplit, start: int, stop: int) -> None:
        check_range(start, stop, len(whole))
        self.dtype = whole.dtype
        self._whole = whole
        self._start = start
        self._stop = stop

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def document_bounds(self) -> np.ndarray:
        """As in `TokenSplit`; documents that reach over an end of the part are cut there."""
        bounds = self._whole.document_bounds
        inside = bounds[(bounds > self._start) & (bounds < self._stop)]
        return np.concatenate(([self._start], inside, [self._stop])) - self._start

    @property
    def fingerprint(self) -> str:
        """As in `TokenSplit`."""
        name = f"{self._whole.fingerprint} from {self._start} to {self._stop}"
        return hashlib.sha256(name.encode()).hexdigest()

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """As in `TokenSplit`."""
        check_range(start, stop, len(self))
        return self._whole.tokens(self._start + start, self._start + stop)

    def take(self, offsets: np.ndarray) -> np.ndarray:
        """As in `TokenSplit`."""
        check_offsets(offsets, len(self))
        return self._whole.take(offsets + self._start)
