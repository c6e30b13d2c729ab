"""What a model is given to learn from in one step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

IGNORED_TARGET = -100
"""Target of a position that predicts nothing (torch's own convention)."""


class Batch(NamedTuple):
    """Rows of tokens and the tokens that follow them."""

    inputs: np.ndarray
    """(B, T), int64."""
    targets: np.ndarray
    """(B, T), int64; `IGNORED_TARGET` where the next token belongs to another document."""
    segment_ids: np.ndarray | None = None
    """(B, T), int32: 0 for the first piece of a document in a row, 1 for the second, and so on.

    None if the windows take no notice of documents."""
    reset: np.ndarray | None = None
    """(B, T), bool: true where a piece begins, so at the first position of every row.

    What was learned before such a position is about another text. None as `segment_ids`."""

    @classmethod
    def concatenate(cls, batches: "Sequence[Batch]") -> "Batch":
        """Lay batches of equal T below each other."""
        inputs, targets, segment_ids, reset = zip(*batches, strict=True)
        return cls(
            np.concatenate(inputs),
            np.concatenate(targets),
            _concatenate(segment_ids),
            _concatenate(reset),
        )

    def rows(self, chosen: slice | np.ndarray) -> "Batch":
        """Return some rows; a slice copies nothing."""
        segment_ids, reset = self.segment_ids, self.reset
        return Batch(
            self.inputs[chosen],
            self.targets[chosen],
            None if segment_ids is None else segment_ids[chosen],
            None if reset is None else reset[chosen],
        )

    def split(self, parts: int) -> "list[Batch]":
        """Cut the rows into equal parts, for gradient accumulation; nothing is copied.

        Raises:
            ValueError: the rows cannot be divided by `parts`.
        """
        size, rest = divmod(len(self.inputs), parts)
        if rest:
            raise ValueError(f"{len(self.inputs)} rows cannot be cut into {parts} equal parts")
        return [self.rows(slice(part * size, (part + 1) * size)) for part in range(parts)]


def _concatenate(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None
