"""What the open tokens of a mini-batch teach: a value that grows by a row for each token.

Token j is known by the row (x_1, ..., x_L, g_1, ..., g_L) of G numbers: input and gradient of each
inner layer (arXiv 2407.04620, section 2.5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_kernels.reference.mini_batch import InnerGradients


class Learned(NamedTuple):
    """Rows of the open tokens, a value that nobody changes.

    Behind them there may be room, which all values share that have grown out of one another. A row
    there is written once, by the first that takes it: so a text that is read on copies nothing, and
    two texts that go on from the same state do not see each other.

    Attributes:
        room: (B, H, any, G), contiguous.
        count: how many of them are open tokens, r.
        unwritten: places in `room` that nobody has taken yet.
    """

    room: Tensor
    count: int
    unwritten: set[int]

    @classmethod
    def of(cls, rows: Tensor) -> "Learned":
        """Rows of r tokens, (B, H, r, G), and no room for others."""
        return cls(rows, rows.shape[2], set())

    @classmethod
    def nothing(cls, batch: int, heads: int, weights: Sequence[Tensor]) -> "Learned":
        """Of no tokens, for an inner model with such weights, (..., in, out) each."""
        return cls.of(weights[0].new_empty(batch, heads, 0, sum(_widths(weights))))

    @property
    def rows(self) -> Tensor:
        """Of the open tokens, (B, H, r, G)."""
        return self.room[:, :, : self.count]

    def with_room(self, mini_batch_size: int) -> "Learned":
        """One row more, for the caller to write."""
        try:
            self.unwritten.remove(self.count)
        except KeyError:
            batch, heads, _, numbers = self.room.shape
            room = self.room.new_empty(batch, heads, mini_batch_size, numbers)
            room[:, :, : self.count] = self.rows
            return Learned(room, self.count + 1, set(range(self.count + 1, mini_batch_size)))
        return Learned(self.room, self.count + 1, self.unwritten)

    def cleared(self) -> "Learned":
        """No rows, and no room."""
        batch, heads, _, numbers = self.room.shape
        return Learned.of(self.room.new_empty(batch, heads, 0, numbers))

    def select(self, index: Tensor) -> "Learned":
        """The rows of some sequences of the batch."""
        return Learned.of(self.rows.index_select(0, index))


def side_by_side(gradients: InnerGradients) -> Tensor:
    """Rows (..., n, G) of n tokens."""
    return torch.cat([*gradients.inputs, *gradients.outputs], -1)


def by_layer(rows: Tensor, weights: Sequence[Tensor]) -> InnerGradients:
    """The way back, as views: parts as wide as the weights of the layers, (..., in, out) each."""
    parts = rows.split(_widths(weights), -1)
    return InnerGradients(list(parts[: len(weights)]), list(parts[len(weights) :]))


def _widths(weights: Sequence[Tensor]) -> list[int]:
    """Of what a row consists of: all inputs, then all gradients."""
    return [weight.shape[axis] for axis in (-2, -1) for weight in weights]
