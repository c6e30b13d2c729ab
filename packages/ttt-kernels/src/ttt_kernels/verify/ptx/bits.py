"""Bits: logic, shifts, fields, permutations of bytes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ttt_kernels.verify.errors import UnsupportedError
from ttt_kernels.verify.ptx.program import Instruction
from ttt_kernels.verify.ptx.values import ELEMENT, Array, Mask, Operands, Step

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

_LOGIC: dict[str, Callable[..., Array]] = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.bitwise_not,
}
_U32 = np.uint32


def _decode_logic(instruction: Instruction, operands: Operands) -> Step:
    kind = instruction.modifiers[-1]
    operation = _LOGIC[instruction.opcode]
    reads = [operands.read(each, kind) for each in instruction.operands[1:]]
    write = operands.write(instruction.operands[0], kind)
    return lambda machine, mask: write(machine, operation(*(r(machine) for r in reads)), mask)


def _decode_shift(instruction: Instruction, operands: Operands) -> Step:
    """Shifts by any amount: beyond the width, all bits are zero or the sign."""
    kind = instruction.modifiers[-1]
    element = ELEMENT[kind]
    bits = 8 * element.itemsize
    value = operands.read(instruction.operands[1], kind)
    amount = operands.read(instruction.operands[2], "u32")
    write = operands.write(instruction.operands[0], kind)
    left = instruction.opcode == "shl"
    signed = kind.startswith("s")

    def step(machine: "Machine", mask: Mask) -> None:
        x, n = value(machine), amount(machine)
        within = np.minimum(n, bits - 1).astype(element)
        shifted = np.left_shift(x, within) if left else np.right_shift(x, within)
        if left or not signed:
            shifted = np.where(n >= bits, element.type(0), shifted)
        write(machine, shifted, mask)

    return step


def _decode_funnel(instruction: Instruction, operands: Operands) -> Step:
    """`shf`: shift the 64 bits of two registers and keep half of them."""
    left, wraps = "l" in instruction.modifiers, "wrap" in instruction.modifiers
    low, high, amount = (operands.read(each, "b32") for each in instruction.operands[1:])
    write = operands.write(instruction.operands[0], "b32")

    def step(machine: "Machine", mask: Mask) -> None:
        both = high(machine).astype(np.uint64) << np.uint64(32) | low(machine)
        n = amount(machine)
        n = (n & _U32(31) if wraps else np.minimum(n, 32)).astype(np.uint64)
        moved = (both << n) >> np.uint64(32) if left else both >> n
        write(machine, moved.astype(_U32), mask)

    return step


def _decode_extract(instruction: Instruction, operands: Operands) -> Step:
    """`bfe`: a field of bits as a number."""
    kind = instruction.modifiers[-1]
    element = ELEMENT[kind]
    bits = 8 * element.itemsize
    value = operands.read(instruction.operands[1], kind)
    start, length = (operands.read(each, "u32") for each in instruction.operands[2:])
    write = operands.write(instruction.operands[0], kind)

    def step(machine: "Machine", mask: Mask) -> None:
        # Shift the field to the top, then down to the bottom; the second shift brings the sign.
        first = np.minimum(start(machine) & _U32(255), bits).astype(np.int64)
        size = np.minimum(length(machine) & _U32(255), bits).astype(np.int64)
        x = value(machine)
        sign_fills = np.minimum(first + size, bits) < first + size
        field = np.right_shift(x, np.minimum(first, bits - 1).astype(element))
        field = np.where((first >= bits) & (element.kind == "u"), element.type(0), field)
        up = np.clip(bits - size, 0, bits - 1).astype(element)
        taken = np.right_shift(np.left_shift(field, up), up)
        result = np.where(size == 0, element.type(0), np.where(sign_fills, field, taken))
        write(machine, result.astype(element), mask)

    return step


def _decode_insert(instruction: Instruction, operands: Operands) -> Step:
    """`bfi`: put a number into a field of bits."""
    kind = instruction.modifiers[-1]
    value, into = (operands.read(each, kind) for each in instruction.operands[1:3])
    start, length = (operands.read(each, "u32") for each in instruction.operands[3:])
    write = operands.write(instruction.operands[0], kind)
    one, bits = ELEMENT[kind].type(1), 8 * ELEMENT[kind].itemsize

    def step(machine: "Machine", mask: Mask) -> None:
        first, size = start(machine).astype(ELEMENT[kind]), length(machine).astype(ELEMENT[kind])
        ones = np.where(size >= bits, ~(one ^ one), (one << np.minimum(size, bits - 1)) - one)
        field = (ones << first).astype(ELEMENT[kind])
        write(machine, (into(machine) & ~field) | ((value(machine) << first) & field), mask)

    return step


def _decode_permute(instruction: Instruction, operands: Operands) -> Step:
    """`prmt`: four bytes out of the eight of two registers."""
    if instruction.modifiers != ("b32",):
        raise UnsupportedError(f"the simulator does not know {instruction}")
    a, b, selector = (operands.read(each, "b32") for each in instruction.operands[1:])
    write = operands.write(instruction.operands[0], "b32")

    def step(machine: "Machine", mask: Mask) -> None:
        source = np.stack([a(machine), b(machine)], axis=1).view(np.uint8)
        select = selector(machine)
        result = np.empty((len(select), 4), np.uint8)
        rows = np.arange(len(select))
        for position in range(4):
            choice = (select >> _U32(4 * position)) & _U32(15)
            byte = source[rows, choice & _U32(7)]
            sign = np.where(byte & 0x80, np.uint8(255), np.uint8(0))
            result[:, position] = np.where(choice & _U32(8), sign, byte)
        write(machine, result.view(_U32).reshape(-1), mask)

    return step


def _decode_lop3(instruction: Instruction, operands: Operands) -> Step:
    """Any function of three bits, given as its table."""
    reads = [operands.read(each, "b32") for each in instruction.operands[1:4]]
    table = int(instruction.operands[4], 0)
    write = operands.write(instruction.operands[0], "b32")

    def step(machine: "Machine", mask: Mask) -> None:
        values = [read(machine) for read in reads]
        result = np.zeros_like(values[0])
        for row in range(8):
            if table >> row & 1:
                x, y, z = (v if row >> (2 - i) & 1 else ~v for i, v in enumerate(values))
                result |= x & y & z
        write(machine, result, mask)

    return step


def _decode_count(instruction: Instruction, operands: Operands) -> Step:
    """`popc`, `clz`, `brev`, `bfind`: numbers of bits and their places."""
    kind = instruction.modifiers[-1]
    bits = 8 * ELEMENT[kind].itemsize
    name = instruction.opcode
    if name == "bfind" and "shiftamt" in instruction.modifiers:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    read = operands.read(instruction.operands[1], kind)
    write = operands.write(instruction.operands[0], kind if name == "brev" else "u32")

    def step(machine: "Machine", mask: Mask) -> None:
        value = np.ascontiguousarray(read(machine))
        if name == "bfind" and kind.startswith("s"):
            value = np.where(value < 0, ~value, value)
        octets = value.view(np.uint8).reshape(len(value), -1)[:, ::-1]
        digits = np.unpackbits(octets, axis=1)  # most significant first
        if name == "popc":
            result = digits.sum(axis=1)
        elif name == "brev":
            packed = np.packbits(digits[:, ::-1], axis=1)[:, ::-1]
            result = np.ascontiguousarray(packed).view(ELEMENT[kind]).reshape(-1)
            return write(machine, result, mask)
        else:
            leading = np.where(digits.any(axis=1), digits.argmax(axis=1), bits)
            result = leading if name == "clz" else bits - 1 - leading
        return write(machine, result.astype(np.int64).astype(_U32), mask)

    return step


DECODERS = {
    **dict.fromkeys(_LOGIC, _decode_logic),
    "shl": _decode_shift,
    "shr": _decode_shift,
    "shf": _decode_funnel,
    "bfe": _decode_extract,
    "bfi": _decode_insert,
    "prmt": _decode_permute,
    "lop3": _decode_lop3,
    **dict.fromkeys(("popc", "clz", "brev", "bfind"), _decode_count),
}
