"""Registers, constants and addresses as NumPy arrays, one element for each thread.

A register holds bare bits: an unsigned array as wide as it is declared, booleans for predicates.
Instructions read it as their own type, and packed types as twice as many elements.
"""

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ttt_kernels.verify.errors import UnsupportedError
from ttt_kernels.verify.ptx.program import Program

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

Array = NDArray[Any]
Mask = NDArray[np.bool_] | None
"""The threads that take part; None for all."""
Read = Callable[["Machine"], Array]
Write = Callable[["Machine", Array, Mask], None]
Step = Callable[["Machine", Mask], None]
"""What an instruction does when it is executed."""

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

ELEMENT: dict[str, np.dtype[Any]] = {
    "pred": np.dtype(bool),
    **{f"{k}{n}": np.dtype(f"u{n // 8}") for k in "bu" for n in (8, 16, 32, 64)},
    **{f"s{n}": np.dtype(f"i{n // 8}") for n in (8, 16, 32, 64)},
    **{f"f{n}": np.dtype(f"f{n // 8}") for n in (16, 32, 64)},
    "bf16": BFLOAT16,
    "f16x2": np.dtype("f2"),
    "bf16x2": BFLOAT16,
    "tf32": np.dtype("f4"),
}
"""The NumPy type of an element of a PTX type."""

LOCAL_WINDOW, SHARED_WINDOW = 1 << 60, 1 << 61
"""Where a thread's own memory and shared memory lie among generic addresses."""

_SPECIAL = re.compile(r"%(?:tid|ntid|ctaid|nctaid)\.[xyz]$|%laneid$|%warpid$")


def width(kind: str) -> int:
    """Bytes of a value of a PTX type."""
    return 4 if kind in ("f16x2", "bf16x2") else ELEMENT[kind].itemsize


def container(size: int) -> np.dtype[Any]:
    """The unsigned type of a number of bytes."""
    return np.dtype(f"u{size}")


class Operands:
    """Turns operands into functions that read and write them.

    Args:
        program: whose registers and symbols they are.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._slots: dict[str, int] = {}
        self.containers: list[np.dtype[Any]] = []

    def slot(self, register: str) -> int:
        """Place of a register in the machine's list, made when first seen."""
        if register not in self._slots:
            types = self._program.register_types
            kind = types.get(register) or types.get(re.sub(r"\d+$", "", register))
            if kind is None:
                raise UnsupportedError(f"`{register}` is not a register that was declared")
            self._slots[register] = len(self.containers)
            self.containers.append(np.dtype(bool) if kind == "pred" else container(width(kind)))
        return self._slots[register]

    def read(self, operand: str, kind: str) -> Read:
        """Read an operand as a type. Of a wider register, the low part."""
        negated = operand.startswith("!")
        operand = operand.lstrip("!")
        if _SPECIAL.match(operand):
            return _special(operand)
        if operand in self._program.constants:
            return lambda machine: np.full(
                machine.threads, machine.global_memory.address(operand), np.uint64
            )
        if not self._is_register(operand):
            return self._constant(operand, kind)
        slot, element = self.slot(operand), ELEMENT[kind]
        held = self.containers[slot]
        if kind == "pred":
            if negated:
                return lambda machine: ~machine.registers[slot]
            return lambda machine: machine.registers[slot]
        size = width(kind)
        if held.itemsize == size:
            if element == held:
                return lambda machine: machine.registers[slot]
            return lambda machine: machine.registers[slot].view(element)
        if held.itemsize < size:
            raise UnsupportedError(f"`{operand}` is narrower than the type {kind} it is used as")
        narrow = container(size)
        return lambda machine: machine.registers[slot].astype(narrow).view(element)

    def write(self, operand: str, kind: str) -> Write:
        """Write values of a type to a register, extended by sign or zeros if it is wider."""
        if operand == "_":
            return lambda _machine, _value, _mask: None
        slot = self.slot(operand)
        held = self.containers[slot]
        size = width(kind)
        extends = kind != "pred" and held.itemsize > size
        signed = np.dtype(f"i{held.itemsize}") if kind.startswith("s") else held

        def write(machine: "Machine", value: Array, mask: Mask) -> None:
            if extends:
                if signed != held:
                    value = value.astype(signed)
                else:
                    value = value.view(container(size)).astype(held)
            bits = value if value.dtype == held else np.ascontiguousarray(value).view(held)
            if mask is not None:
                bits = np.where(mask, bits, machine.registers[slot])
            machine.registers[slot] = bits

        return write

    def address(self, operand: str, kind: str) -> Read:
        """Read the address in brackets, as int64."""
        inner = re.fullmatch(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand)
        if inner is None:
            raise UnsupportedError(f"cannot read the address `{operand}`")
        base, offset = self.read(inner[1], kind), int(inner[2] or "0", 0)
        if offset == 0:
            return lambda machine: base(machine).astype(np.int64)
        return lambda machine: base(machine).astype(np.int64) + offset

    def _is_register(self, operand: str) -> bool:
        types = self._program.register_types
        return operand in types or re.sub(r"\d+$", "", operand) in types

    def _constant(self, operand: str, kind: str) -> Read:
        element = ELEMENT[kind]
        if kind == "pred":
            value: Array = np.array([bool(int(operand, 0))])
        else:
            value = _bits(self._number(operand), width(kind)).view(element)
        elements = self._program.threads
        full = np.tile(value, elements)
        return lambda _machine: full

    def _number(self, operand: str) -> int:
        if operand in self._program.shared_symbols:
            return self._program.shared_symbols[operand]
        if operand in self._program.local_symbols:
            return 0
        if found := re.fullmatch(r"0[fFdD]([0-9a-fA-F]{8}|[0-9a-fA-F]{16})", operand):
            return int(found[1], 16)
        if re.fullmatch(r"-?\d+\.\d+", operand):
            return int.from_bytes(struct.pack("<f", float(operand)), "little")
        try:
            return int(operand.rstrip("U"), 0)
        except ValueError:
            raise UnsupportedError(f"cannot read the operand `{operand}`") from None


def _bits(value: int, size: int) -> Array:
    return np.frombuffer((value & ((1 << 8 * size) - 1)).to_bytes(size, "little"), container(size))


def _special(operand: str) -> Read:
    name, _, axis = operand[1:].partition(".")
    index = "xyz".index(axis) if axis else 0

    def read(machine: "Machine") -> Array:
        if name == "tid":
            return machine.lanes if index == 0 else machine.same(0)
        if name == "ntid":
            return machine.same(machine.threads if index == 0 else 1)
        if name == "ctaid":
            return machine.same(machine.program_id[index])
        if name == "nctaid":
            return machine.same(machine.grid[index])
        return machine.lanes & 31 if name == "laneid" else machine.lanes >> 5

    return read
