"""`cvt`: from one type of number to another."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt_kernels.verify.errors import UnsupportedError
from ttt_kernels.verify.ptx.program import Instruction
from ttt_kernels.verify.ptx.values import BFLOAT16, ELEMENT, Array, Mask, Operands, Step, width

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

_ROUND_TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_KNOWN = {"rn", "rz", "rna", "sat", "relu", "ftz", "satfinite", *_ROUND_TO_INTEGER}


def _decode_cvt(instruction: Instruction, operands: Operands) -> Step:
    *modifiers, to, of = instruction.modifiers
    if set(modifiers) - _KNOWN or to not in ELEMENT or of not in ELEMENT:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    convert = _conversion(to, of, set(modifiers))
    if convert is None:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    out, *values = instruction.operands
    if len(values) == 2:  # two numbers into one register, the second in its low half
        high, low = (operands.read(each, of) for each in values)
        write = operands.write(out, to)

        def pack(machine: "Machine", mask: Mask) -> None:
            pair = np.stack([convert(low(machine)), convert(high(machine))], axis=1)
            write(machine, pair.reshape(-1), mask)

        return pack
    read, write = operands.read(values[0], of), operands.write(out, to)
    if width(to) < operands.containers[operands.slot(out)].itemsize and to[0] == "f":
        raise UnsupportedError(f"the simulator does not know {instruction}")
    return lambda machine, mask: write(machine, convert(read(machine)), mask)


def _conversion(to: str, of: str, modifiers: set[str]) -> Callable[[Array], Array] | None:
    element = ELEMENT[to]
    if to == "tf32":
        return _round_tf32 if "rna" in modifiers else _truncate(13)
    if of[0] in "su" and to[0] in "su":
        return _saturate(element) if "sat" in modifiers else lambda x: x.astype(element)
    if of[0] in "su":
        return lambda x: x.astype(element)
    if to[0] in "su":
        rounding = next(_ROUND_TO_INTEGER[each] for each in modifiers & set(_ROUND_TO_INTEGER))
        return lambda x: _to_integer(rounding(x.astype(np.float64)), element)
    if "rz" in modifiers:
        return _truncation(element)
    rounding = next((_ROUND_TO_INTEGER[each] for each in modifiers & set(_ROUND_TO_INTEGER)), None)

    def convert(x: Array) -> Array:
        if rounding is not None:
            x = rounding(x)
        if "relu" in modifiers:
            x = np.fmax(x, 0)
        if "sat" in modifiers:
            x = np.clip(np.nan_to_num(x, nan=0.0), 0, 1)
        return x.astype(np.float32).astype(element) if x.dtype == BFLOAT16 else x.astype(element)

    return convert


def _truncation(element: np.dtype[Any]) -> Callable[[Array], Array]:
    """Round towards zero: where the nearest number is too large, take the one below it."""

    def truncate(x: Array) -> Array:
        nearest = x.astype(element)
        too_large = np.abs(nearest.astype(np.float64)) > np.abs(x.astype(np.float64))
        bits = nearest.view(f"u{element.itemsize}")
        return np.where(too_large, bits - bits.dtype.type(1), bits).view(element)

    return truncate


def _round_tf32(x: Array) -> Array:
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits).view(np.float32)


def _truncate(bits: int) -> Callable[[Array], Array]:
    kept = np.uint32(0xFFFFFFFF ^ ((1 << bits) - 1))
    return lambda x: (x.view(np.uint32) & kept).view(np.float32)


def _saturate(element: np.dtype[Any]) -> Callable[[Array], Array]:
    limits = np.iinfo(element)

    def saturate(x: Array) -> Array:
        own = np.iinfo(x.dtype)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
        return np.clip(x, x.dtype.type(low), x.dtype.type(high)).astype(element)

    return saturate


def _to_integer(x: Array, element: np.dtype[Any]) -> Array:
    """Floats to integers, those out of range to the nearest integer there is, NaN to zero."""
    limits = np.iinfo(element)
    inside = (x >= float(limits.min)) & (x < float(limits.max))
    whole = np.where(inside, x, 0).astype(element)
    whole = np.where(x >= float(limits.max), element.type(limits.max), whole)
    return np.where(x < float(limits.min), element.type(limits.min), whole)


DECODERS = {"cvt": _decode_cvt}
