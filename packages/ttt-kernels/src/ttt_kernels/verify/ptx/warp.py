"""What the lanes of a warp do together: shuffles, votes, fragments, products of tiles."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt_kernels.verify.errors import BarrierError, UnsupportedError
from ttt_kernels.verify.ptx.program import Instruction, elements
from ttt_kernels.verify.ptx.values import BFLOAT16, ELEMENT, Array, Mask, Operands, Step

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

_LANE = np.arange(32)
_ROW, _COLUMN = _LANE >> 2, _LANE & 3  # of a fragment: 8 rows, 4 lanes each


def _decode_shuffle(instruction: Instruction, operands: Operands) -> Step:
    """`shfl.sync`: each lane reads another lane's register."""
    mode = instruction.modifiers[1]
    out, _, valid = instruction.operands[0].partition("|")
    value, lane, limits = (operands.read(each, "b32") for each in instruction.operands[1:4])
    write = operands.write(out, "b32")
    write_valid = operands.write(valid, "pred") if valid else None

    def step(machine: "Machine", mask: Mask) -> None:
        own = (machine.lanes & 31).astype(np.int64)
        by, limit = lane(machine).astype(np.int64) & 31, limits(machine).astype(np.int64)
        segment, clamp = limit >> 8 & 31, limit & 31
        first = own & segment
        last = first | (clamp & ~segment)
        source = {
            "up": own - by,
            "down": own + by,
            "bfly": own ^ by,
            "idx": first | (by & ~segment),
        }[mode]
        inside = source >= last if mode == "up" else source <= last
        place = (machine.lanes & ~np.uint32(31)) + np.where(inside, source, own)
        if mask is not None and not mask[place[mask]].all():
            raise BarrierError("a shuffle reads a lane that does not take part in it")
        write(machine, value(machine)[place], mask)
        if write_valid is not None:
            write_valid(machine, inside, mask)

    return step


def _decode_vote(instruction: Instruction, operands: Operands) -> Step:
    """`vote.sync`: what the lanes of a warp say together."""
    mode = instruction.modifiers[1]
    read = operands.read(instruction.operands[1], "pred")
    write = operands.write(instruction.operands[0], "b32" if mode == "ballot" else "pred")

    def step(machine: "Machine", mask: Mask) -> None:
        says = read(machine).reshape(-1, 32)
        takes_part = np.ones_like(says) if mask is None else mask.reshape(-1, 32)
        if mode == "ballot":
            bits = (says & takes_part).astype(np.uint64) << _LANE.astype(np.uint64)
            result = bits.sum(axis=1).astype(np.uint32)
        elif mode == "uni":
            result = (says | ~takes_part).all(axis=1) | ~(says & takes_part).any(axis=1)
        elif mode == "all":
            result = (says | ~takes_part).all(axis=1)
        else:
            result = (says & takes_part).any(axis=1)
        write(machine, np.repeat(result, 32), mask)

    return step


_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.add.reduce,
    "min": np.minimum.reduce,
    "max": np.maximum.reduce,
    "and": np.bitwise_and.reduce,
    "or": np.bitwise_or.reduce,
    "xor": np.bitwise_xor.reduce,
}


def _decode_redux(instruction: Instruction, operands: Operands) -> Step:
    """`redux.sync`: one integer out of the 32 of a warp."""
    kind = instruction.modifiers[-1]
    reduce = _REDUCTIONS[instruction.modifiers[1]]
    read = operands.read(instruction.operands[1], kind)
    write = operands.write(instruction.operands[0], kind)

    def step(machine: "Machine", mask: Mask) -> None:
        _whole_warps(machine, mask)
        reduced = reduce(read(machine).reshape(-1, 32), axis=1, dtype=ELEMENT[kind])
        write(machine, np.repeat(reduced, 32), mask)

    return step


def _decode_ldmatrix(instruction: Instruction, operands: Operands) -> Step:
    """`ldmatrix`: 8 x 8 tiles of 16-bit numbers, their rows at addresses that the lanes give."""
    if instruction.modifiers[-1] != "b16" or "m8n8" not in instruction.modifiers:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    tiles = int(next(m[1:] for m in instruction.modifiers if re.fullmatch(r"x\d", m)))
    transposed = "trans" in instruction.modifiers
    address = operands.address(instruction.operands[1], "b32")
    writes = [operands.write(each, "b32") for each in elements(instruction.operands[0])]
    giving = (8 * tiles > _LANE).nonzero()[0]

    def step(machine: "Machine", mask: Mask) -> None:
        warps = _whole_warps(machine, mask)
        lanes = (warps[:, None] * 32 + giving).ravel()
        rows = machine.shared.load(address(machine)[lanes], np.dtype(np.uint16), 8, lanes)
        tile = rows.reshape(len(warps), tiles, 8, 8)
        if transposed:
            tile = tile.swapaxes(2, 3)
        pairs = np.ascontiguousarray(tile).view(np.uint32)  # (warps, tiles, 8, 4)
        for index, write in enumerate(writes):
            values = np.zeros((machine.warps, 32), np.uint32)
            values[warps] = pairs[:, index].reshape(len(warps), 32)
            write(machine, values.ravel(), mask)

    return step


@dataclass(frozen=True)
class _Fragment:
    """Where the elements of a tile lie in the registers of a warp.

    Attributes:
        rows: of element [lane, register, part]; broadcast with `columns`.
        columns: the same.
        shape: of the tile.
    """

    rows: Array
    columns: Array
    shape: tuple[int, int]

    def gather(self, registers: Array) -> Array:
        """Tiles (warps, *shape) out of registers (warps, 32, registers, parts)."""
        tile = np.zeros((len(registers), *self.shape), registers.dtype)
        tile[:, self.rows, self.columns] = registers
        return tile


def _fragments(rows: int, depth: int, parts: int) -> tuple[_Fragment, _Fragment, _Fragment]:
    """Layouts of A (rows, depth), B (depth, 8) and C (rows, 8), with `parts` numbers a register."""
    lane_row, lane_column = _ROW[:, None, None], _COLUMN[:, None, None]
    part = np.arange(parts)[None, None, :]
    halves = rows // 8
    a = np.arange(rows * depth // 32 // parts)[None, :, None]
    b = np.arange(depth * 8 // 32 // parts)[None, :, None]
    c = np.arange(rows * 8 // 32)[None, :, None]
    return (
        _Fragment(
            lane_row + 8 * (a % halves) + 0 * part,
            lane_column * parts + part + 4 * parts * (a // halves),
            (rows, depth),
        ),
        _Fragment(
            lane_column * parts + part + 4 * parts * b,
            lane_row + 0 * b + 0 * part,
            (depth, 8),
        ),
        _Fragment(lane_row + 8 * (c // 2), lane_column * 2 + c % 2, (rows, 8)),
    )


def _decode_mma(instruction: Instruction, operands: Operands) -> Step:
    """`mma.sync`: D = A B + C, tiles spread over a warp; sums in the type of C."""
    modifiers = instruction.modifiers
    shape = next((re.fullmatch(r"m(\d+)n8k(\d+)", m) for m in modifiers if m[0] == "m"), None)
    kinds = modifiers[-4:]
    if shape is None or "row" not in modifiers or "sp" in modifiers or kinds[1] != kinds[2]:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    rows, depth, of, to = int(shape[1]), int(shape[2]), kinds[1], kinds[0]
    if of not in ("f16", "bf16", "tf32", "s8", "u8", "f64") or to not in (
        "f16",
        "f32",
        "f64",
        "s32",
    ):
        raise UnsupportedError(f"the simulator does not know {instruction}")
    register = "b64" if of == "f64" else "b32"
    parts = ELEMENT[register].itemsize // ELEMENT[of].itemsize
    layout_a, layout_b, layout_c = _fragments(rows, depth, parts)
    out, a, b, c = (elements(each) for each in instruction.operands)
    reads_a, reads_b = ([operands.read(r, register) for r in each] for each in (a, b))
    packed = "f16x2" if to == "f16" else to
    reads_c = [operands.read(each, packed) for each in c]
    writes = [operands.write(each, packed) for each in out]
    widen = _widening(of)

    def tiles(machine: "Machine", reads: list[Any], layout: _Fragment) -> Array:
        stacked = np.stack([read(machine).reshape(-1, 32) for read in reads], axis=2)
        return layout.gather(widen(stacked).reshape(machine.warps, 32, len(reads), parts))

    def step(machine: "Machine", mask: Mask) -> None:
        _whole_warps(machine, mask)
        left, right = tiles(machine, reads_a, layout_a), tiles(machine, reads_b, layout_b)
        held = [read(machine).reshape(machine.warps, 32, -1) for read in reads_c]
        accumulated = np.concatenate(held, axis=2)[..., None]
        sums = left @ right + layout_c.gather(accumulated).astype(left.dtype)
        result = sums[:, layout_c.rows, layout_c.columns][..., 0].astype(ELEMENT[to])
        for index, write in enumerate(writes):
            per = result.shape[2] // len(writes)
            mine = result[:, :, index * per : (index + 1) * per]
            write(machine, np.ascontiguousarray(mine).reshape(-1), mask)

    return step


def _widening(kind: str) -> Callable[[Array], Array]:
    """From the bits of registers to the numbers that the matrix unit multiplies."""
    if kind == "tf32":  # it does not look at the low 13 bits
        return lambda bits: (bits & np.uint32(0xFFFFE000)).view(np.float32)
    if kind == "bf16":
        return lambda bits: bits.view(BFLOAT16).astype(np.float32)
    wide = {"f16": np.float32, "f64": np.float64, "s8": np.int32, "u8": np.int32}[kind]
    return lambda bits: bits.view(ELEMENT[kind]).astype(wide)


def _whole_warps(machine: "Machine", mask: Mask) -> Array:
    """Numbers of the warps that take part; each must do so with all its lanes."""
    if mask is None:
        return np.arange(machine.warps)
    lanes = mask.reshape(-1, 32)
    if (lanes.any(axis=1) != lanes.all(axis=1)).any():
        raise BarrierError("only some lanes of a warp reach an instruction that needs all of them")
    return np.flatnonzero(lanes.all(axis=1))


DECODERS = {
    "shfl": _decode_shuffle,
    "vote": _decode_vote,
    "redux": _decode_redux,
    "ldmatrix": _decode_ldmatrix,
    "mma": _decode_mma,
}
