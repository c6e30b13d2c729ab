"""Numbers: sums, products, comparisons, selections, special functions."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ttt_kernels.verify.errors import UnsupportedError
from ttt_kernels.verify.ptx.program import Instruction, elements
from ttt_kernels.verify.ptx.values import (
    BFLOAT16,
    ELEMENT,
    Array,
    Mask,
    Operands,
    Read,
    Step,
    width,
)

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

_FLOATS = ("f16", "bf16", "f16x2", "bf16x2", "f32", "f64")
# What changes nothing in this simulator: `approx` and `full` results are rounded exact ones.
_HARMLESS = {"rn", "full", "approx", "lo", "uni", "rni"}


def _multiply_add(x: Array, y: Array, z: Array) -> Array:
    return x * y + z


def _reciprocal_root(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _copy_sign(sign: Array, x: Array) -> Array:
    return np.copysign(x, sign)


_FLOAT_OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.fmin,
    "max": np.fmax,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rsqrt": _reciprocal_root,
    "rcp": np.reciprocal,
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "fma": _multiply_add,
    "copysign": _copy_sign,
}
_INTEGER_OPERATIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mad": _multiply_add,
    "min": np.minimum,
    "max": np.maximum,
    "neg": np.negative,
    "abs": np.abs,
}


def _decode_number(instruction: Instruction, operands: Operands) -> Step:
    """Elementwise functions of floating-point numbers and integers."""
    kind = instruction.modifiers[-1]
    modifiers = set(instruction.modifiers[:-1])
    name = instruction.opcode
    if kind not in _FLOATS:
        if modifiers & {"wide", "hi"}:
            return _decode_wide(instruction, operands)
        if name in ("div", "rem"):
            return _decode_division(instruction, operands)
        operation = _INTEGER_OPERATIONS.get(name)
    else:
        operation = _float_operation(name, kind, modifiers)
        modifiers -= {"NaN", "ftz"}
    if operation is None or modifiers - _HARMLESS:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    reads = [operands.read(each, kind) for each in instruction.operands[1:]]
    return _elementwise(operation, reads, operands, instruction.operands[0], kind)


def _elementwise(
    operation: Callable[..., Array], reads: list[Read], operands: Operands, out: str, kind: str
) -> Step:
    write = operands.write(out, kind)
    if len(reads) == 1:
        (a,) = reads
        return lambda machine, mask: write(machine, operation(a(machine)), mask)
    if len(reads) == 2:
        a, b = reads
        return lambda machine, mask: write(machine, operation(a(machine), b(machine)), mask)
    a, b, c = reads
    return lambda machine, mask: write(machine, operation(a(machine), b(machine), c(machine)), mask)


def _float_operation(name: str, kind: str, modifiers: set[str]) -> Callable[..., Array] | None:
    operation = _FLOAT_OPERATIONS.get(name)
    if "NaN" in modifiers:
        operation = {"min": np.minimum, "max": np.maximum}[name]
    if operation is None:
        return None
    element = ELEMENT[kind]
    exact = name in ("add", "sub", "mul", "div", "neg", "abs", "sqrt") or kind == "f64"
    ordered = name in ("min", "max") and element != BFLOAT16
    if not (exact or ordered):  # rounded once, from more digits than the type has
        wide = operation

        def operation(*values: Array) -> Array:
            return wide(*(value.astype(np.float64) for value in values)).astype(element)

    if "ftz" not in modifiers:
        return operation
    gradual = operation
    tiny = np.finfo(np.float32).tiny

    def flushing(*values: Array) -> Array:
        flushed = (np.where(np.abs(v) < tiny, np.copysign(v * 0, v), v) for v in values)
        result = gradual(*flushed)
        return np.where(np.abs(result) < tiny, np.copysign(result * 0, result), result)

    return flushing


def _decode_wide(instruction: Instruction, operands: Operands) -> Step:
    """`mul` and `mad` whose product has twice the width: all of it, or its high half."""
    kind = instruction.modifiers[-1]
    size = ELEMENT[kind].itemsize
    reads = [operands.read(each, kind) for each in instruction.operands[1:3]]
    a, b = reads
    if size == 8:
        if instruction.opcode != "mul" or "hi" not in instruction.modifiers:
            raise UnsupportedError(f"the simulator does not know {instruction}")
        write = operands.write(instruction.operands[0], kind)

        def high(machine: "Machine", mask: Mask) -> None:  # from exact integers
            product = a(machine).astype(object) * b(machine).astype(object) >> 64
            write(machine, product.astype(ELEMENT[kind]), mask)

        return high
    double = f"{kind[0]}{16 * size}"
    element = ELEMENT[double]
    wide = "wide" in instruction.modifiers
    write = operands.write(instruction.operands[0], double if wide else kind)
    c = None
    if instruction.opcode == "mad":
        c = operands.read(instruction.operands[3], double if wide else kind)

    def step(machine: "Machine", mask: Mask) -> None:
        product = a(machine).astype(element) * b(machine).astype(element)
        if not wide:
            product = (product >> element.type(8 * size)).astype(ELEMENT[kind])
        write(machine, product if c is None else product + c(machine), mask)

    return step


def _decode_division(instruction: Instruction, operands: Operands) -> Step:
    """Integer quotient towards zero, and the remainder that goes with it."""
    kind = instruction.modifiers[-1]
    a, b = (operands.read(each, kind) for each in instruction.operands[1:])
    write = operands.write(instruction.operands[0], kind)
    remainder = instruction.opcode == "rem"

    def step(machine: "Machine", mask: Mask) -> None:
        x, y = a(machine), b(machine)
        zero = y == 0
        safe = np.where(zero, 1, y).astype(y.dtype)
        rest = np.fmod(x, safe)
        result = rest if remainder else (x - rest) // safe
        unspecified = x if remainder else np.array(-1).astype(y.dtype)
        write(machine, np.where(zero, unspecified, result).astype(y.dtype), mask)

    return step


_COMPARISONS: dict[str, Callable[..., Array]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}
_BOOLEAN: dict[str, Callable[..., Array]] = {
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def _unordered(x: Array, y: Array) -> Array:
    return np.isnan(x) | np.isnan(y)


def _float_comparison(name: str) -> Callable[..., Array]:
    """Comparisons of floats; `equ`, `neu`, `ltu`... are also true of NaN."""
    if name == "nan":
        return _unordered
    unordered = name.endswith("u")
    base = _COMPARISONS.get(name.removesuffix("u"), np.equal)

    def compare(x: Array, y: Array) -> Array:
        if name == "num":
            return ~_unordered(x, y)
        return base(x, y) | _unordered(x, y) if unordered else base(x, y) & ~_unordered(x, y)

    return compare


def _decode_setp(instruction: Instruction, operands: Operands) -> Step:
    """Comparisons, and what they say joined with another predicate."""
    kind, name = instruction.modifiers[-1], instruction.modifiers[0]
    joined = next((each for each in instruction.modifiers[1:-1] if each in _BOOLEAN), None)
    if set(instruction.modifiers[1:-1]) - {joined, "ftz"} or "|" in instruction.operands[0]:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    floating = kind in _FLOATS
    a, b = (operands.read(each, kind) for each in instruction.operands[1:3])
    write = operands.write(instruction.operands[0], "pred")
    compare = _float_comparison(name) if floating else _COMPARISONS[name]
    if joined is None:
        return lambda machine, mask: write(machine, compare(a(machine), b(machine)), mask)
    c, join = operands.read(instruction.operands[3], "pred"), _BOOLEAN[joined]
    return lambda m, mask: write(m, join(compare(a(m), b(m)), c(m)), mask)


def _decode_selp(instruction: Instruction, operands: Operands) -> Step:
    """One of two values, by a predicate."""
    kind = instruction.modifiers[-1]
    bare = f"b{8 * width(kind)}"  # one element for each thread, as the predicate has
    a, b = (operands.read(each, bare) for each in instruction.operands[1:3])
    choose = operands.read(instruction.operands[3], "pred")
    write = operands.write(instruction.operands[0], bare)
    return lambda m, mask: write(m, np.where(choose(m), a(m), b(m)), mask)


def _decode_mov(instruction: Instruction, operands: Operands) -> Step:
    """Copies, and packing and unpacking of registers."""
    kind = instruction.modifiers[-1]
    out, value = instruction.operands
    if kind == "pred" or "{" not in out + value:
        write, read = operands.write(out, kind), operands.read(value, kind)
        return lambda machine, mask: write(machine, read(machine), mask)
    whole = f"b{8 * ELEMENT[kind].itemsize}"
    parts = elements(out if "{" in out else value)
    part = f"b{8 * ELEMENT[kind].itemsize // len(parts)}"
    if "{" in value:
        reads = [operands.read(each, part) for each in parts]
        write = operands.write(out, whole)
        element = ELEMENT[whole]

        def pack(machine: "Machine", mask: Mask) -> None:
            columns = np.stack([read(machine) for read in reads], axis=1)
            write(machine, columns.view(element).reshape(-1), mask)

        return pack
    writes = [operands.write(each, part) for each in parts]
    read = operands.read(value, whole)
    element = ELEMENT[part]

    def unpack(machine: "Machine", mask: Mask) -> None:
        columns = np.ascontiguousarray(read(machine)).view(element).reshape(-1, len(writes))
        for column, write in enumerate(writes):
            write(machine, np.ascontiguousarray(columns[:, column]), mask)

    return unpack


DECODERS = {
    **dict.fromkeys((*_FLOAT_OPERATIONS, *_INTEGER_OPERATIONS, "rem"), _decode_number),
    "setp": _decode_setp,
    "selp": _decode_selp,
    "mov": _decode_mov,
}
