"""Global memory: the tensors that a kernel was given, and nothing else."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ttt_kernels.verify.errors import KernelFaultError, LaunchError, OutOfBoundsError, RaceError
from ttt_kernels.verify.ptx.counts import ExecutionCounts
from ttt_kernels.verify.ptx.order import Order
from ttt_kernels.verify.ptx.values import Array

_RANGE_BITS = 40
_ALIGNMENT = 256
_SECTOR = 32


class GlobalMemory:
    """A copy of the memory of all tensors, each with a range of false addresses of its own.

    Args:
        tensors: the arguments that are tensors, by name. Those that overlap share their bytes.
        granule: bytes of the smallest access of the kernel.
        counts: where traffic is counted.

    Raises:
        LaunchError: a tensor is not on the CPU.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], granule: int, counts: ExecutionCounts
    ) -> None:
        self._counts = counts
        self._names = list(tensors)
        spans = {name: _span(name, tensor) for name, tensor in tensors.items()}
        self._blocks: list[tuple[int, int, int]] = []  # real start, bytes, place in the arena
        end = 0
        for start, stop in _merged(list(spans.values())):
            place = -(-end // _ALIGNMENT) * _ALIGNMENT + start % _ALIGNMENT
            self._blocks.append((start, stop - start, place))
            end = place + stop - start
        self._arena = np.zeros(-(-(end + 16) // 16) * 16, np.uint8)
        for start, size, place in self._blocks:
            self._arena[place : place + size] = _real_bytes(start, size)
        self._sizes = np.array([stop - start for start, stop in spans.values()], np.int64)
        self._places = np.array([self._place(start) for start, _ in spans.values()], np.int64)
        self._order = Order(len(self._arena), granule)
        self._interval = 0
        self._item = {name: tensor.element_size() for name, tensor in tensors.items()}

    def address(self, name: str) -> int:
        """The address of a tensor that the kernel is given."""
        index = self._names.index(name)
        return ((index + 1) << _RANGE_BITS) + int(self._places[index]) % _ALIGNMENT

    def write_back(self) -> None:
        """Copy what the kernel stored to the tensors."""
        for start, size, place in self._blocks:
            _real_bytes(start, size)[:] = self._arena[place : place + size]

    def barrier(self) -> None:
        """Begin a new interval, or a new program: accesses before it are in order with later."""
        self._interval += 1

    def load(self, addresses: Array, kind: np.dtype[Any], vector: int, lanes: Array) -> Array:
        """Load `vector` elements for each lane, (lanes, vector)."""
        size = kind.itemsize * vector
        places = self._find("load", addresses, size)
        granules = self._order.granules(places, size)
        if self._order.read(granules, lanes >> 5, self._interval).any():
            raise RaceError(
                "race between warps: load of global memory that another warp of the program has"
                " stored to since the last barrier"
            )
        self._counts.global_bytes_loaded += len(addresses) * size
        self._counts.global_sectors_loaded += _sectors(addresses, size, lanes)
        return self._arena.view(kind)[(places // kind.itemsize)[:, None] + np.arange(vector)]

    def store(self, addresses: Array, values: Array, lanes: Array) -> None:
        """Store (lanes, vector) elements."""
        size = values.itemsize * values.shape[1]
        places = self._find("store", addresses, size)
        granules = self._order.granules(places, size)
        after_read, after_write = self._order.write(granules, lanes >> 5, self._interval)
        words = self._arena.view(values.dtype)
        at = (places // values.itemsize)[:, None] + np.arange(values.shape[1])
        before = words[at]
        words[at] = values
        changed = (after_read | after_write).any(axis=1) & (before != values).any(axis=1)
        if changed.any() or (words[at] != values).any():
            raise RaceError(
                "race between warps: store to global memory that another warp of the program has"
                " used since the last barrier"
            )
        self._counts.global_bytes_stored += len(addresses) * size
        self._counts.global_sectors_stored += _sectors(addresses, size, lanes)

    def update(
        self, addresses: Array, kind: np.dtype[Any], lanes: Array, change: Callable[..., Array]
    ) -> Array:
        """Update one element after the other; returns what was there before."""
        places = self._find("atomic", addresses, kind.itemsize) // kind.itemsize
        words = self._arena.view(kind)
        old = np.empty(len(places), kind)
        for lane, place in enumerate(places.tolist()):
            old[lane] = words[place]
            words[place] = change(old[lane], lane)
        sectors, size = _sectors(addresses, kind.itemsize, lanes), len(addresses) * kind.itemsize
        self._counts.global_bytes_loaded += size
        self._counts.global_bytes_stored += size
        self._counts.global_sectors_loaded += sectors
        self._counts.global_sectors_stored += sectors
        return old

    def _find(self, kind: str, addresses: Array, size: int) -> Array:
        """Places in the arena of an access that is inside one tensor and aligned."""
        owners = (addresses >> _RANGE_BITS) - 1
        known = (owners >= 0) & (owners < len(self._names))
        if not known.all():
            # Below the first byte of a tensor is the end of the range before it.
            raise self._out_of_bounds(kind, addresses[~known][0], size)
        starts = self._places[owners]
        offsets = (addresses & ((1 << _RANGE_BITS) - 1)) - starts % _ALIGNMENT
        outside = (offsets < 0) | (offsets + size > self._sizes[owners])
        if outside.any():
            raise self._out_of_bounds(kind, addresses[outside][0], size)
        if (addresses % size).any():
            raise KernelFaultError(
                f"{kind} of {size} bytes from `{self._names[owners[0]]}` is not aligned"
            )
        return starts + offsets

    def _out_of_bounds(self, kind: str, address: int, size: int) -> OutOfBoundsError:
        # Attribute to the range whose start is nearest.
        index = min(max(round(address / (1 << _RANGE_BITS)) - 1, 0), len(self._names) - 1)
        if not self._names:
            return OutOfBoundsError(f"{kind} out of bounds: the kernel was given no tensor")
        name = self._names[index]
        offset = int(address) - self.address(name)
        return OutOfBoundsError(
            f"{kind} out of bounds: {size} bytes at byte {offset} of `{name}`, which has"
            f" {self._sizes[index]} (element {offset // self._item[name]})"
        )

    def _place(self, start: int) -> int:
        for block, size, place in self._blocks:
            if block <= start <= block + size:
                return place + start - block
        return 0  # a tensor without elements


def _span(name: str, tensor: torch.Tensor) -> tuple[int, int]:
    """Real addresses of a tensor's first byte and of the end of its last."""
    if tensor.device.type != "cpu":
        raise LaunchError(f"`{name}` is on {tensor.device}; the simulator takes CPU tensors")
    start = tensor.data_ptr()
    if not tensor.numel():
        return start, start
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in pairs)
    return start, start + (last + 1) * tensor.element_size()


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans without those inside others, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if start == stop:
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def _real_bytes(start: int, size: int) -> Array:
    """The memory of a tensor that the caller keeps alive."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(start))


def _sectors(addresses: Array, size: int, lanes: Array) -> int:
    """Sectors that the warps touch, each warp for itself."""
    first, last = addresses // _SECTOR, (addresses + size - 1) // _SECTOR
    warps = (lanes >> 5).astype(np.int64) << 56
    return int(np.unique(np.concatenate([warps | first, warps | last])).size)
