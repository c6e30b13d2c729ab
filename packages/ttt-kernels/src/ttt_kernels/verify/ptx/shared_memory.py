"""Shared memory of one program: contents, order, bank conflicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_kernels.verify.errors import (
    KernelFaultError,
    OutOfBoundsError,
    RaceError,
    UninitializedError,
)
from ttt_kernels.verify.ptx.counts import ExecutionCounts
from ttt_kernels.verify.ptx.order import Order
from ttt_kernels.verify.ptx.values import Array, container

_BANKS = 32


@dataclass(frozen=True)
class _Copy:
    """One `cp.async` of a program: performed when it is waited for.

    Attributes:
        destination: shared address of each lane.
        size: bytes of each lane.
        fetch: reads the bytes from global memory, (lanes, size).
        warps: of each lane.
    """

    destination: Array
    size: int
    fetch: Callable[[], Array]
    warps: Array


class SharedMemory:
    """What the threads of a program share.

    Args:
        size: bytes.
        granule: bytes of the smallest access of the kernel.
        counts: where wavefronts are counted.
    """

    def __init__(self, size: int, granule: int, counts: ExecutionCounts) -> None:
        self._size = size
        padded = -(-max(size, 16) // 16) * 16
        self._bytes = np.zeros(padded, np.uint8)
        self._order = Order(padded, granule)
        self._filling = np.zeros(padded // granule + 1, bool)
        self._counts = counts
        self._interval = 0
        self._open: list[_Copy] = []
        self._groups: list[list[_Copy]] = []
        self._wavefronts: dict[tuple[int, bytes, bytes], tuple[int, int]] = {}

    def barrier(self) -> None:
        """Begin a new interval: what came before is in order with what follows."""
        self._interval += 1

    def load(self, addresses: Array, kind: np.dtype[Any], vector: int, lanes: Array) -> Array:
        """Load `vector` elements for each lane, (lanes, vector)."""
        size = kind.itemsize * vector
        granules = self._check("load", addresses, size)
        if not self._order.written(granules).all():
            never = addresses[~self._order.written(granules).all(axis=1)][0]
            raise UninitializedError(f"load of shared memory that nothing has written: {never:#x}")
        if self._order.read(granules, lanes >> 5, self._interval).any():
            raise RaceError(
                "race between warps: load of shared memory that another warp has stored to since"
                " the last barrier"
            )
        self._count(addresses, size, lanes)
        return self._bytes.view(kind)[(addresses // kind.itemsize)[:, None] + np.arange(vector)]

    def store(self, addresses: Array, values: Array, lanes: Array) -> None:
        """Store (lanes, vector) elements."""
        size = values.itemsize * values.shape[1]
        self._check("store", addresses, size)
        self._order_writes(addresses, values, lanes >> 5)
        self._count(addresses, size, lanes)

    def _order_writes(self, addresses: Array, values: Array, warps: Array) -> None:
        size = values.itemsize * values.shape[1]
        granules = self._order.granules(addresses, size)
        after_read, after_write = self._order.write(granules, warps, self._interval)
        words = self._bytes.view(values.dtype)
        places = (addresses // values.itemsize)[:, None] + np.arange(values.shape[1])
        before = words[places]
        words[places] = values
        if after_read.any():
            raise RaceError(
                "race between warps: store to shared memory that another warp has loaded since the"
                " last barrier"
            )
        # Replicated layouts store one value from several lanes, and several warps: no harm.
        changed = after_write.any(axis=1) & (before != values).any(axis=1)
        if changed.any() or (words[places] != values).any():
            raise RaceError(
                "race between warps: store to shared memory that another warp has stored a"
                " different value to since the last barrier"
            )

    def update(
        self, addresses: Array, kind: np.dtype[Any], lanes: Array, change: Callable[..., Array]
    ) -> Array:
        """Update one element after the other; returns what was there before."""
        self._check("atomic", addresses, kind.itemsize)
        words, places = self._bytes.view(kind), addresses // kind.itemsize
        granules = self._order.granules(addresses, kind.itemsize)
        if not self._order.written(granules).all():
            raise UninitializedError("atomic on shared memory that nothing has written")
        old = np.empty(len(places), kind)
        for lane, place in enumerate(places.tolist()):
            old[lane] = words[place]
            words[place] = change(old[lane], lane)
        self._count(addresses, kind.itemsize, lanes)
        return old

    def copy(self, destination: Array, size: int, fetch: Callable[[], Array], lanes: Array) -> None:
        """Begin a copy from global memory: the bytes are in flight until they are waited for."""
        granules = self._check("cp.async", destination, size)
        after_read, _ = self._order.write(granules, lanes >> 5, self._interval)
        if after_read.any():
            raise RaceError(
                "race between warps: cp.async to shared memory that another warp has loaded since"
                " the last barrier"
            )
        self._filling[granules] = True
        self._open.append(_Copy(destination, size, fetch, lanes >> 5))
        self._count(destination, size, lanes)

    def commit(self) -> None:
        """Make the copies begun since the last time a group."""
        self._groups.append(self._open)
        self._open = []

    def wait(self, pending: int) -> None:
        """Perform all groups but the last `pending`."""
        while len(self._groups) > pending:
            for each in self._groups.pop(0):
                data = np.ascontiguousarray(each.fetch()).view(container(4))
                self._filling[self._order.granules(each.destination, each.size)] = False
                self._order_writes(each.destination, data, each.warps)

    @property
    def pending(self) -> int:
        """Groups of copies that are not waited for."""
        return sum(bool(group) for group in (*self._groups, self._open))

    def _check(self, kind: str, addresses: Array, size: int) -> NDArray[np.int64]:
        """Granules of an access that is inside, aligned, and not being filled."""
        outside = (addresses < 0) | (addresses + size > self._size)
        if outside.any():
            raise OutOfBoundsError(
                f"{kind} out of bounds: {size} bytes at {addresses[outside][0]:#x} of shared"
                f" memory, which has {self._size}"
            )
        if (addresses % size).any():
            raise KernelFaultError(
                f"{kind} of {size} bytes at {addresses[addresses % size != 0][0]:#x} of shared"
                f" memory is not aligned"
            )
        granules = self._order.granules(addresses, size)
        if self._filling[granules].any():
            raise RaceError(f"{kind} of shared memory that a cp.async is still filling")
        return granules

    def _count(self, addresses: Array, size: int, lanes: Array) -> None:
        key = (size, addresses.tobytes(), lanes.tobytes() if len(lanes) % 32 else b"")
        if key not in self._wavefronts:
            self._wavefronts[key] = wavefronts(addresses, size, lanes)
        actual, ideal = self._wavefronts[key]
        self._counts.shared_wavefronts += actual
        self._counts.ideal_shared_wavefronts += ideal


def wavefronts(addresses: Array, size: int, lanes: Array) -> tuple[int, int]:
    """Passes that an access to shared memory takes, and the fewest it could take.

    A pass serves one word of each bank. Lanes are served 32 at a time, 16 with 8 bytes each, 8 with
    16 bytes each.
    """
    together = 32 * 4 // max(size, 4)
    words = (addresses // 4)[:, None] + np.arange(max(size // 4, 1))
    group = np.broadcast_to((lanes // together)[:, None], words.shape)
    distinct = np.unique((group.astype(np.int64) << 32 | words).ravel())
    key = (distinct >> 32) * _BANKS + distinct % _BANKS
    by_bank = np.bincount(key, minlength=_BANKS * (int(key.max()) // _BANKS + 1))
    by_group = by_bank.reshape(-1, _BANKS)
    return int(by_group.max(axis=1).sum()), int((-(-by_group.sum(axis=1) // _BANKS)).sum())
