"""Which warp touched which memory since the last barrier."""

import numpy as np
from numpy.typing import NDArray

from ttt_kernels.verify.ptx.values import Array

_SEVERAL = -2


class Order:
    """Finds accesses of two warps that no barrier separates.

    Args:
        size: bytes of the memory.
        granule: bytes that are told apart; a power of two that divides every access.
    """

    def __init__(self, size: int, granule: int) -> None:
        self._shift = granule.bit_length() - 1
        granules = (size >> self._shift) + 1
        self._write_interval = np.full(granules, -1, np.int32)
        self._write_warp = np.full(granules, -1, np.int32)
        self._read_interval = np.full(granules, -1, np.int32)
        self._read_warp = np.full(granules, -1, np.int32)

    def granules(self, addresses: Array, size: int) -> NDArray[np.int64]:
        """The granules of each access, (accesses, size / granule)."""
        count = max(size >> self._shift, 1)
        return (addresses >> self._shift)[:, None] + np.arange(count)

    def written(self, granules: Array) -> NDArray[np.bool_]:
        """Which granules have been written at all."""
        return self._write_interval[granules] >= 0

    def read(self, granules: Array, warps: Array, interval: int) -> NDArray[np.bool_]:
        """Note reads; returns which follow a write of another warp in the same interval."""
        warps = np.broadcast_to(warps[:, None], granules.shape)
        same = self._write_interval[granules] == interval
        clash = same & (self._write_warp[granules] != warps)
        shared = (self._read_interval[granules] == interval) & (self._read_warp[granules] != warps)
        self._read_warp[granules] = np.where(shared, _SEVERAL, warps)
        self._read_interval[granules] = interval
        # Two warps that read one granule in this very access leave the last one's number only.
        lost = self._read_warp[granules] != warps
        if lost.any():
            self._read_warp[granules[lost]] = _SEVERAL
        return clash

    def write(
        self, granules: Array, warps: Array, interval: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Note writes; returns which follow a read, and which a write, of another warp."""
        warps = np.broadcast_to(warps[:, None], granules.shape)
        after_read = (self._read_interval[granules] == interval) & (
            self._read_warp[granules] != warps
        )
        after_write = (self._write_interval[granules] == interval) & (
            self._write_warp[granules] != warps
        )
        self._write_interval[granules] = interval
        self._write_warp[granules] = warps
        return after_read, after_write
