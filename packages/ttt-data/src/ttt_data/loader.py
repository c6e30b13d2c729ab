"""Tokens to batches.

The batch of a step is a pure function of the step, so there is no iterator to save: a run that
knows its next step knows its place in the data. Sample g of the run is window `permute(g mod N)` of
epoch `g div N`, where N is the number of windows of `seq_len` tokens in the stream.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ttt_config.errors import DataError
from ttt_data.permutation import permute

_HASH_BLOCK_TOKENS = 1 << 20


class Batch(NamedTuple):
    """Inputs and the tokens that follow them, both (B, T), int64."""

    inputs: np.ndarray
    targets: np.ndarray


class LoaderState(msgspec.Struct, frozen=True):
    """A place in the data.

    Attributes:
        seed: of the order of the windows.
        epoch: complete passes over the windows before this place.
        index: the next sample, counted from the start of the run over all epochs.
        fingerprint: of the tokens and the window length the samples were cut from.
    """

    seed: int
    epoch: int
    index: int
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        return msgspec.structs.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LoaderState":
        """Read what `to_dict` wrote.

        Raises:
            DataError: a field is missing or of the wrong type.
        """
        try:
            return msgspec.convert(dict(values), cls)
        except msgspec.ValidationError as error:
            raise DataError(f"not a loader state: {error}") from error


class Loader:
    """Cuts a stream of tokens into windows and deals them out in a fixed random order.

    Window w is tokens `w * seq_len` to `(w + 1) * seq_len` included: neighbours share one token,
    which is the last target of the one and the first input of the other, so every token but the
    first is a target exactly once. A rest shorter than `seq_len` is left out.

    Args:
        tokens: (tokens,), any unsigned integer type; may be a memory map.
        seq_len: T, tokens per window.
        batch_size: B, windows per batch.
        seed: of the order.

    Raises:
        DataError: there are too few tokens for a single window.
    """

    def __init__(self, tokens: np.ndarray, *, seq_len: int, batch_size: int, seed: int = 0) -> None:
        if seq_len < 1 or batch_size < 1:
            raise ValueError(f"seq_len and batch_size must be positive: {seq_len}, {batch_size}")
        if len(tokens) < seq_len + 1:
            raise DataError(
                f"too little text: one window of seq_len {seq_len} needs {seq_len + 1} tokens, "
                f"found {len(tokens)}; give more text or lower seq_len"
            )
        self._tokens = tokens
        self.seq_len = seq_len
        self.batch_size = batch_size
        self.seed = seed
        self.num_windows = (len(tokens) - 1) // seq_len

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0; the same one each time."""
        return self._cut(self.windows(step))

    def windows(self, step: int) -> np.ndarray:
        """Return the numbers of the windows in the batch of a step, (B,) int64."""
        first = step * self.batch_size
        epochs, positions = np.divmod(
            np.arange(first, first + self.batch_size, dtype=np.int64), self.num_windows
        )
        windows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            windows[chosen] = permute(
                positions[chosen], self.num_windows, seed=self.seed, epoch=int(epoch)
            )
        return windows

    def in_order(self) -> Iterator[Batch]:
        """Yield every window once, in the order of the text; the last batch may be smaller."""
        for first in range(0, self.num_windows, self.batch_size):
            last = min(first + self.batch_size, self.num_windows)
            yield self._cut(np.arange(first, last, dtype=np.int64))

    def state(self, step: int) -> LoaderState:
        """Return the place before the batch of a step."""
        index = step * self.batch_size
        return LoaderState(self.seed, index // self.num_windows, index, self.fingerprint)

    def step_of(self, state: LoaderState) -> int:
        """Return the step to go on with from a place saved earlier.

        Raises:
            DataError: the place is in other data, in another order, or between two batches.
        """
        if state.fingerprint != self.fingerprint:
            raise DataError(
                f"cannot resume: the data is not what it was (fingerprint {self.fingerprint[:12]}, "
                f"expected {state.fingerprint[:12]}); give the same text, tokenizer and seq_len"
            )
        if state.seed != self.seed:
            raise DataError(f"cannot resume: the data seed is {self.seed}, expected {state.seed}")
        step, rest = divmod(state.index, self.batch_size)
        if rest:
            raise DataError(
                f"cannot resume: sample {state.index} is not a multiple of batch_size "
                f"{self.batch_size}; give the batch size of the earlier run"
            )
        return step

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the tokens and `seq_len`, the same for uint16 and uint32."""
        digest = hashlib.sha256(f"seq_len {self.seq_len}\n".encode())
        for start in range(0, len(self._tokens), _HASH_BLOCK_TOKENS):
            block = self._tokens[start : start + _HASH_BLOCK_TOKENS]
            digest.update(block.astype("<u4").tobytes())
        return digest.hexdigest()

    def _cut(self, windows: np.ndarray) -> Batch:
        offsets = windows[:, None] * self.seq_len + np.arange(self.seq_len + 1, dtype=np.int64)
        tokens = self._tokens[offsets].astype(np.int64)
        return Batch(tokens[:, :-1], tokens[:, 1:])
