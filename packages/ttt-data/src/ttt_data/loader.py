"""Tokens to batches.

The batch of a step is a pure function of the step, so there is no iterator to save: a run that
knows its next step knows its place in the data. Sample g of a run is row g mod `global_batch_size`
of step g div `global_batch_size`, however many ranks share the step and into however many
micro-batches each of them cuts its rows. `ttt_data.loading` has the parts, in order.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np

from ttt_config.errors import DataError, IncompatibleError
from ttt_data.loading.batch import Batch
from ttt_data.loading.documents import DocumentWindows
from ttt_data.loading.mixture import Mixture
from ttt_data.loading.packed import PackedWindows
from ttt_data.loading.prefetch import prefetch
from ttt_data.loading.sampler import SourceSampler, source_seed
from ttt_data.loading.source import TokenSource, array_source
from ttt_data.loading.state import LoaderState

__all__ = [
    "Batch",
    "Loader",
    "LoaderState",
    "Mixture",
    "Mode",
    "Samples",
    "TokenSource",
    "array_source",
    "prefetch",
]

Mode = Literal["packed", "docs"]
"""`packed`: windows lie side by side in the tokens (`loading.packed`). `docs`: windows are made of
whole documents where possible (`loading.documents`)."""


class Samples(NamedTuple):
    """Where the rows of a batch come from; every field is (B,) int64."""

    index: np.ndarray
    """Number of the sample in the run."""
    source: np.ndarray
    """Number of its source in the mixture, 0 without one."""
    epoch: np.ndarray
    """Of that source."""
    window: np.ndarray
    """Of that source, in the order of the text."""
    start: np.ndarray
    """Place of the row's first token in that source."""


class Loader:
    """Deals the windows of a text out in a fixed random order.

    Every epoch deals every window once. What a window is, and what an epoch leaves out, depends on
    the mode: see `Mode`. Rank r takes rows `r * n` to `(r + 1) * n` of every global batch of
    `n * world_size` rows, so the ranks' batches one after the other are the global batch. (Taking
    every W-th row instead would give ranks different shares of a mixture.)

    Attributes:
        num_windows: windows in an epoch, of all sources together.
        batch_size: rows of one forward pass: of one micro-batch of one rank.

    Args:
        tokens: a source, such as a split of a `TokenStore`; a mixture of sources; or an array,
            (tokens,), of any integer type, which may be a memory map.
        seq_len: T, tokens per window.
        global_batch_size: rows per optimizer step, over all ranks and micro-batches.
        seed: of the order.
        mode: what a window is.
        shuffle: false to deal the windows in the order of the text.
        mask_borders: in mode `packed`, mask targets across the border of two documents and give
            `segment_ids` and `reset`; mode `docs` always does.
        rank: number of this process among those that share each step.
        world_size: how many they are.
        grad_accum_steps: micro-batches per rank and step; `batch(step).split(grad_accum_steps)`.

    Raises:
        DataError: there are too few tokens for a single window.
        IncompatibleError: `global_batch_size` cannot be shared equally.
    """

    def __init__(
        self,
        tokens: TokenSource | np.ndarray | Mixture,
        *,
        seq_len: int,
        global_batch_size: int,
        seed: int = 0,
        mode: Mode = "packed",
        shuffle: bool = True,
        mask_borders: bool = False,
        rank: int = 0,
        world_size: int = 1,
        grad_accum_steps: int = 1,
    ) -> None:
        _check_sizes(seq_len, global_batch_size, rank, world_size, grad_accum_steps)
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        self.seq_len = seq_len
        self.global_batch_size = global_batch_size
        self.batch_size = global_batch_size // (world_size * grad_accum_steps)
        self.seed = seed
        self.mode: Mode = mode
        self.rank = rank
        self.world_size = world_size
        self.grad_accum_steps = grad_accum_steps
        self._shuffle = shuffle
        self._mask_borders = mask_borders
        self._mixture = tokens if isinstance(tokens, Mixture) else Mixture([(tokens, 1)])
        self._samplers = [
            self._sampler(source, number) for number, source in enumerate(self._mixture.sources)
        ]
        self.num_windows = sum(sampler.count for sampler in self._samplers)

    def batch(self, step: int) -> Batch:
        """Return this rank's rows of a step, counted from 0; the same ones each time.

        Raises:
            ValueError: the step is negative.
        """
        sources, positions = self._mixture.locate(self._indices(step))
        parts = [
            self._samplers[number].read(positions[sources == number])
            for number in np.unique(sources).tolist()
        ]
        if len(parts) == 1:
            return parts[0]
        place_in_parts = np.argsort(np.argsort(sources, kind="stable"))
        return Batch.concatenate(parts).rows(place_in_parts)

    def samples(self, step: int) -> Samples:
        """Return where the rows of `batch(step)` come from."""
        indices = self._indices(step)
        sources, positions = self._mixture.locate(indices)
        epochs, windows, starts = (np.empty_like(indices) for _ in range(3))
        for number in np.unique(sources).tolist():
            chosen = sources == number
            located = self._samplers[number].locate(positions[chosen])
            epochs[chosen], windows[chosen] = located.epochs, located.windows
            starts[chosen] = located.pieces.row_starts()
        return Samples(indices, sources, epochs, windows, starts)

    def in_order(self, *, stride: int | None = None) -> Iterator[Batch]:
        """Yield this rank's share of the whole text once, in its order, for evaluation.

        Every token but the first is a target exactly once (in mode `docs` and with `mask_borders`:
        every token but the first of each document). Batches have `batch_size` rows per rank; the
        last one of full rows may be smaller, and one more holds a single shorter row if the tokens
        are no multiple of `seq_len`. All ranks yield equally many batches, so a rank may get a last
        one of no rows. Sources of a mixture follow each other.

        Args:
            stride: tokens from the start of a row to that of the next, up to `seq_len`, which is
                the default. A smaller one gives every target, but those of the first row, at least
                `seq_len - stride` tokens of context; targets seen before are masked. In mode `docs`
                rows cannot overlap.

        Raises:
            ValueError: the stride is out of range.
        """
        stride = self.seq_len if stride is None else stride
        if not 1 <= stride <= self.seq_len:
            raise ValueError(f"stride must be from 1 to seq_len {self.seq_len}, got {stride}")
        for sampler in self._samplers:
            full, rest = sampler.rows_in_order(stride)
            for rows in _chunks(full, rest, size=self.batch_size * self.world_size):
                start, stop = self._share(len(rows))
                # A rank without a share reads one row and gives none of it, for the right shape.
                batch = sampler.read_in_order(
                    rows[start : max(stop, start + 1)],
                    overlap=self.seq_len - stride,
                    stride=stride,
                )
                yield batch.rows(slice(stop - start))

    def state(self, step: int) -> LoaderState:
        """Return the place before the batch of a step, the same on every rank."""
        index = step * self.global_batch_size
        epoch = min(
            count // sampler.count
            for count, sampler in zip(self._mixture.counts(index), self._samplers, strict=True)
        )
        return LoaderState(self.seed, epoch, index, self.fingerprint)

    def step_of(self, state: LoaderState, *, allow_changed: bool = False) -> int:
        """Return the step to go on with from a place saved earlier.

        The ranks and micro-batches may be others than when it was saved.

        Args:
            state: the place.
            allow_changed: go on at the same number of samples even if the data is another.

        Raises:
            DataError: the place is in other data, in another order, or between two batches.
        """
        if state.fingerprint != self.fingerprint and not allow_changed:
            raise DataError(
                f"cannot resume: the data is not what it was (fingerprint {self.fingerprint[:12]}, "
                f"expected {state.fingerprint[:12]}); give the same text, tokenizer, seq_len and "
                "mode, or allow changed data"
            )
        if state.seed != self.seed:
            raise DataError(f"cannot resume: the data seed is {self.seed}, expected {state.seed}")
        step, rest = divmod(state.index, self.global_batch_size)
        if rest:
            raise DataError(
                f"cannot resume: sample {state.index} is not a multiple of global_batch_size "
                f"{self.global_batch_size}; give the batch size of the earlier run"
            )
        return step

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides what a sample is, but the seed and `mask_borders`."""
        lines = [f"loader 1: {self.mode} seq_len={self.seq_len} shuffle={self._shuffle}"]
        lines += (
            f"{weight} {source.fingerprint}"
            for source, weight in zip(self._mixture.sources, self._mixture.weights, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _sampler(self, source: TokenSource, number: int) -> SourceSampler:
        windows = (
            DocumentWindows(source, self.seq_len)
            if self.mode == "docs"
            else PackedWindows(
                source, self.seq_len, mask_borders=self._mask_borders, move_windows=self._shuffle
            )
        )
        return SourceSampler(
            source,
            windows,
            seed=source_seed(self.seed, number),
            shuffle=self._shuffle,
            segments=self._mask_borders or self.mode == "docs",
        )

    def _indices(self, step: int) -> np.ndarray:
        """Numbers of this rank's samples in a step."""
        if step < 0:
            raise ValueError(f"steps are counted from 0, got {step}")
        start, stop = self._share(self.global_batch_size)
        return step * self.global_batch_size + np.arange(start, stop)

    def _share(self, rows: int) -> tuple[int, int]:
        """First and last of the rows that are this rank's, the last one excluded."""
        return rows * self.rank // self.world_size, rows * (self.rank + 1) // self.world_size


def _chunks(full: int, rest: int, *, size: int) -> Iterator[np.ndarray]:
    """Yield the numbers of the full rows in chunks of up to `size`, then those of the rest."""
    for first in range(0, full, size):
        yield np.arange(first, min(first + size, full))
    if rest:
        yield np.arange(full, full + rest)


def _check_sizes(
    seq_len: int, global_batch_size: int, rank: int, world_size: int, grad_accum_steps: int
) -> None:
    if min(seq_len, global_batch_size, world_size, grad_accum_steps) < 1:
        raise ValueError(
            "seq_len, global_batch_size, world_size and grad_accum_steps must be positive: "
            f"{seq_len}, {global_batch_size}, {world_size}, {grad_accum_steps}"
        )
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be from 0 to {world_size - 1}, got {rank}")
    parts = world_size * grad_accum_steps
    if global_batch_size % parts:
        raise IncompatibleError(
            f"global_batch_size {global_batch_size} cannot be shared by {world_size} ranks of "
            f"{grad_accum_steps} micro-batches each: expected a multiple of {parts}, for example "
            f"{-(-global_batch_size // parts) * parts}"
        )
