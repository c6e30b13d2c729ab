"""The memory of a launch: which addresses are whose, and which program touched them.

Every tensor argument gets a range of false addresses of its own, far from all others. So an access
that leaves a tensor is seen even where it would land in another one, and is named after the
argument it was computed from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_kernels.verify.errors import OutOfBoundsError, RaceError

_RANGE_BITS = 48  # no process has addresses as high, so real ones cannot be mistaken for false
_RANGE = 1 << _RANGE_BITS
_NOBODY, _SEVERAL = -1, -2

Addresses = NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """The memory of one tensor argument.

    Attributes:
        name: of the argument.
        real: address of its first element.
        false: the address that the kernel is told.
        size: bytes up to the end of its last element.
        item_size: bytes of an element.
        shape: for messages.
    """

    name: str
    real: int
    false: int
    size: int
    item_size: int
    shape: tuple[int, ...]


class Memory:
    """Checks and translates every access of a launch.

    Args:
        bounds: refuse accesses outside the argument they are computed from.
        races: refuse accesses of two programs to one address, one of them a store.
    """

    def __init__(self, *, bounds: bool, races: bool) -> None:
        self._bounds = bounds
        self._races = races
        self._regions: list[Region] = []
        self._tracks: list[_Track] = []
        self.program = (0, 0, 0)
        self._ordinal = 0

    def add(self, name: str, tensor: Any) -> int:
        """Give a tensor its addresses; returns the first one."""
        real = tensor.data_ptr()
        if not tensor.numel():
            last = -1
        else:
            pairs = zip(tensor.shape, tensor.stride(), strict=True)
            last = sum((size - 1) * stride for size, stride in pairs)
        # In the middle of its range, with the alignment of the real one.
        false = (len(self._regions) + 1) * _RANGE + _RANGE // 2 + real % 4096
        item = tensor.element_size()
        shape = tuple(tensor.shape)
        self._regions.append(Region(name, real, false, (last + 1) * item, item, shape))
        return false

    def seal(self) -> None:
        """Begin: all tensors have been added. Tensors that share memory share what is tracked."""
        if self._races:
            self._tracks = _Track.of(self._regions)

    def enter(self, program: tuple[int, int, int]) -> None:
        """Say which program runs from now on."""
        self.program = program
        self._ordinal += 1

    def access(
        self, kind: str, addresses: NDArray[np.uint64], mask: NDArray[np.bool_], size: int
    ) -> NDArray[np.uint64]:
        """Check an access, and say where it really goes.

        Args:
            kind: `load`, `store` or `atomic`.
            addresses: what the kernel computed, one for each lane.
            mask: the lanes that take part.
            size: bytes of each lane.

        Returns:
            Real addresses, of the same shape.

        Raises:
            OutOfBoundsError: a lane leaves its argument.
            RaceError: another program has touched one of the addresses.
        """
        false = np.broadcast_to(addresses, mask.shape).astype(np.int64)
        real = false.copy()
        owners = false >> _RANGE_BITS
        for owner in np.unique(owners[mask]).tolist():
            lanes = mask & (owners == owner)
            if not 1 <= owner <= len(self._regions):
                self._check_foreign(kind, false[lanes], size)
                continue
            region = self._regions[owner - 1]
            offsets = false[lanes] - region.false
            outside = (offsets < 0) | (offsets + size > region.size)
            if self._bounds and outside.any():
                raise self._out_of_bounds(kind, region, offsets[outside], lanes)
            real[lanes] = offsets + region.real
        if self._races:
            touched = real[mask]
            for track in self._tracks:
                if (clash := track.touch(kind, touched, size, self._ordinal)) is not None:
                    raise self._race(kind, *clash)
        return real.astype(np.uint64)

    def _check_foreign(self, kind: str, addresses: Addresses, size: int) -> None:
        """Addresses that were read from memory: fine if they lie in an argument."""
        inside = np.zeros(addresses.shape, dtype=bool)
        for region in self._regions:
            offsets = addresses - region.real
            inside |= (offsets >= 0) & (offsets + size <= region.size)
        if self._bounds and not inside.all():
            raise OutOfBoundsError(
                f"{kind} out of bounds: address {addresses[~inside][0]:#x} belongs to no argument,"
                f" in program {self.program}"
            )

    def _out_of_bounds(
        self, kind: str, region: Region, offsets: Addresses, lanes: NDArray[np.bool_]
    ) -> OutOfBoundsError:
        worst = offsets[0]
        count = region.size // region.item_size
        return OutOfBoundsError(
            f"{kind} out of bounds: `{region.name}` at element {worst // region.item_size}, but it"
            f" has {count} (shape {region.shape}); {len(offsets)} of {int(lanes.sum())} lanes, in"
            f" program {self.program}. Is a mask missing?"
        )

    def _race(self, kind: str, address: int, before: str) -> RaceError:
        region = next(r for r in self._regions if 0 <= address - r.real < r.size)
        element = (address - region.real) // region.item_size
        return RaceError(
            f"race between programs: `{region.name}` element {element} had a {before} by another"
            f" program, and a {kind} by program {self.program}"
        )


class _Track:
    """Which program loaded, stored and updated each byte of a stretch of memory."""

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._end = end
        self._by = {
            kind: np.full(end - start, _NOBODY, np.int32) for kind in ("load", "store", "atomic")
        }

    @classmethod
    def of(cls, regions: list[Region]) -> "list[_Track]":
        spans: list[list[int]] = []
        for region in sorted(regions, key=lambda each: each.real):
            if not region.size:
                continue
            if spans and region.real < spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], region.real + region.size)
            else:
                spans.append([region.real, region.real + region.size])
        return [cls(start, end) for start, end in spans]

    def touch(
        self, kind: str, addresses: Addresses, size: int, program: int
    ) -> tuple[int, str] | None:
        """Note an access; returns address and kind of an earlier one that it races with.

        Loads race with stores and atomics, atomics with loads and stores, stores with everything.
        """
        here = addresses[(addresses >= self._start) & (addresses < self._end)]
        if not here.size:
            return None
        bytes_ = (here[:, None] - self._start + np.arange(size)).ravel()
        rivals = {"load": ("store", "atomic"), "atomic": ("load", "store")}
        for rival in rivals.get(kind, tuple(self._by)):
            by = self._by[rival][bytes_]
            clash = (by != _NOBODY) & (by != program)
            if clash.any():
                first = int(np.argmax(clash))
                return int(bytes_[first]) + self._start, rival
        own = self._by[kind]
        before = own[bytes_]
        own[bytes_] = np.where((before == _NOBODY) | (before == program), program, _SEVERAL)
        return None
