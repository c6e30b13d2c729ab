"""What a loader reads tokens from."""

from typing import Protocol

import numpy as np

from ttt_config.errors import DataError
from ttt_data.store.split import ShardedSplit


class TokenSource(Protocol):
    """A row of tokens cut into documents; every `ttt_data.store.TokenSplit` is one."""

    @property
    def document_bounds(self) -> np.ndarray:
        """Place where each document begins, then the length; (documents + 1,) int64."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with any token or document border."""
        ...

    def __len__(self) -> int:
        """Return the number of tokens."""
        ...

    def take(self, offsets: np.ndarray) -> np.ndarray:
        """Return the tokens at these places, in the shape of `offsets`, any integer type."""
        ...


def array_source(tokens: np.ndarray, document_bounds: np.ndarray | None = None) -> TokenSource:
    """Make an array a source.

    Args:
        tokens: (tokens,), any integer type; may be a memory map.
        document_bounds: as in `TokenSource`; by default the array is one document.
    """
    bounds = np.array([0, len(tokens)]) if document_bounds is None else document_bounds
    return ShardedSplit([tokens], read_bounds=lambda: np.asarray(bounds, dtype=np.int64))


def borders_of(source: TokenSource) -> np.ndarray:
    """Return the document bounds of a source without its empty documents, (documents + 1,) int64.

    Raises:
        DataError: the bounds do not run from 0 to the number of tokens in rising order.
    """
    bounds = source.document_bounds
    steps = np.diff(bounds)
    if not len(steps) or bounds[0] != 0 or bounds[-1] != len(source) or steps.min() < 0:
        raise DataError(
            f"the document bounds of a split of {len(source)} tokens are wrong: expected rising "
            f"places from 0 to {len(source)}, got {len(bounds)} of them, {bounds[:1]} to "
            f"{bounds[-1:]}; run `ttt data verify`, or prepare the data again"
        )
    return bounds if steps.all() else bounds[np.append(True, steps > 0)]
