"""Memory: loads, stores, atomics, copies to shared memory, address spaces."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt_kernels.verify.errors import OutOfBoundsError, UnsupportedError
from ttt_kernels.verify.ptx.program import Instruction, elements
from ttt_kernels.verify.ptx.values import (
    ELEMENT,
    LOCAL_WINDOW,
    SHARED_WINDOW,
    Array,
    Mask,
    Operands,
    Step,
    container,
    width,
)

if TYPE_CHECKING:
    from ttt_kernels.verify.ptx.machine import Machine

_SPACES = ("param", "global", "shared", "local")


def space(instruction: Instruction) -> str:
    """The address space of an instruction; `generic` if it names none."""
    named = (each.split("::")[0] for each in instruction.modifiers)
    return next((each for each in named if each in _SPACES), "generic")


def _active(machine: "Machine", mask: Mask) -> Array:
    return machine.lanes if mask is None else machine.lanes[mask]


def _of(values: Array, mask: Mask) -> Array:
    return values if mask is None else values[mask]


def _vector(instruction: Instruction) -> int:
    sizes = {"v2": 2, "v4": 4, "v8": 8}
    return next((sizes[each] for each in instruction.modifiers if each in sizes), 1)


def _resolve(where: str, addresses: Array) -> tuple[str, Array]:
    """Find the space of generic addresses: all lanes must mean the same."""
    if where != "generic":
        return where, addresses
    for name, window in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW)):
        inside = addresses >= window
        if inside.all():
            return name, addresses - window
        if inside.any():
            raise UnsupportedError("one generic access reaches several address spaces")
    return "global", addresses


def _decode_load(instruction: Instruction, operands: Operands) -> Step:
    where, kind = space(instruction), instruction.modifiers[-1]
    if where == "param":
        return _decode_parameter(instruction, operands)
    vector, element = _vector(instruction), container(width(kind))
    address = operands.address(instruction.operands[1], "b32" if where == "shared" else "b64")
    writes = [operands.write(each, kind) for each in elements(instruction.operands[0])]
    final = ELEMENT[kind]

    def step(machine: "Machine", mask: Mask) -> None:
        lanes = _active(machine, mask)
        found, addresses = _resolve(where, _of(address(machine), mask))
        if found == "shared":
            loaded = machine.shared.load(addresses, element, vector, lanes)
        elif found == "local":
            place = _own(machine, addresses, element.itemsize, vector)
            loaded = machine.local.view(element)[lanes[:, None], place]
        else:
            loaded = machine.global_memory.load(addresses, element, vector, lanes)
        for column, write in enumerate(writes):
            values = np.zeros(machine.threads, element)
            values[lanes] = loaded[:, column]
            write(machine, values.view(final), mask)

    return step


def _decode_parameter(instruction: Instruction, operands: Operands) -> Step:
    kind, name = instruction.modifiers[-1], instruction.operands[1].strip("[] ")
    if "+" in name or _vector(instruction) > 1:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    write, element = operands.write(instruction.operands[0], kind), container(width(kind))
    limit = (1 << 8 * width(kind)) - 1

    def step(machine: "Machine", mask: Mask) -> None:
        bits = np.full(machine.threads, machine.parameters[name] & limit, element)
        write(machine, bits.view(ELEMENT[kind]), mask)

    return step


def _decode_store(instruction: Instruction, operands: Operands) -> Step:
    where, kind = space(instruction), instruction.modifiers[-1]
    element = container(width(kind))
    bare = f"b{8 * width(kind)}"
    address = operands.address(instruction.operands[0], "b32" if where == "shared" else "b64")
    reads = [operands.read(each, bare) for each in elements(instruction.operands[1])]

    def step(machine: "Machine", mask: Mask) -> None:
        lanes = _active(machine, mask)
        found, addresses = _resolve(where, _of(address(machine), mask))
        values = np.stack([_of(read(machine), mask) for read in reads], axis=1).astype(element)
        if found == "shared":
            machine.shared.store(addresses, values, lanes)
        elif found == "local":
            place = _own(machine, addresses, element.itemsize, len(reads))
            machine.local.view(element)[lanes[:, None], place] = values
        else:
            machine.global_memory.store(addresses, values, lanes)

    return step


def _own(machine: "Machine", addresses: Array, item: int, vector: int) -> Array:
    """Indices of the elements of an access to a thread's own memory, (lanes, vector)."""
    size, end = item * vector, machine.local.shape[1]
    if ((addresses < 0) | (addresses + size > end)).any():
        raise OutOfBoundsError(f"{size} bytes outside a thread's own memory, which has {end}")
    return (addresses // item)[:, None] + np.arange(vector)


_ATOMIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda old, value: old + value,
    "min": min,
    "max": max,
    "and": lambda old, value: old & value,
    "or": lambda old, value: old | value,
    "xor": lambda old, value: old ^ value,
    "exch": lambda _old, value: value,
}


def _decode_atomic(instruction: Instruction, operands: Operands) -> Step:
    """`atom` and `red`: threads of a program one after the other."""
    kind = instruction.modifiers[-1]
    name = next((each for each in instruction.modifiers if each in (*_ATOMIC, "cas")), None)
    if name is None or _vector(instruction) > 1 or kind.endswith("x2"):
        raise UnsupportedError(f"the simulator does not know {instruction}")
    where, element = space(instruction), ELEMENT[kind]
    out = instruction.operands[0] if instruction.opcode == "atom" else "_"
    at, *values = instruction.operands[1:] if instruction.opcode == "atom" else instruction.operands
    address = operands.address(at, "b32" if where == "shared" else "b64")
    reads = [operands.read(each, kind) for each in values[: 2 if name == "cas" else 1]]
    write = operands.write(out, kind)

    def step(machine: "Machine", mask: Mask) -> None:
        lanes = _active(machine, mask)
        found, addresses = _resolve(where, _of(address(machine), mask))
        given = [_of(read(machine), mask) for read in reads]

        def change(old: Any, lane: int) -> Any:
            if name == "cas":
                return given[1][lane] if old == given[0][lane] else old
            return _ATOMIC[name](old, given[0][lane])

        memory = machine.shared if found == "shared" else machine.global_memory
        before = np.zeros(machine.threads, element)
        before[lanes] = memory.update(addresses, element, lanes, change)
        write(machine, before, mask)

    return step


def _decode_copy(instruction: Instruction, operands: Operands) -> Step:
    """`cp.async`: from global to shared memory, seen when it has been waited for."""
    modifiers = instruction.modifiers
    if modifiers[0] != "async" or "bulk" in modifiers:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    if "commit_group" in modifiers:
        return lambda machine, _mask: machine.shared.commit()
    if "wait_group" in modifiers:
        pending = int(instruction.operands[0], 0)
        return lambda machine, _mask: machine.shared.wait(pending)
    if "wait_all" in modifiers:

        def wait_all(machine: "Machine", _mask: Mask) -> None:
            machine.shared.commit()
            machine.shared.wait(0)

        return wait_all
    if "mbarrier" in modifiers:
        raise UnsupportedError(f"the simulator does not know {instruction}")
    return _decode_copy_begin(instruction, operands)


def _decode_copy_begin(instruction: Instruction, operands: Operands) -> Step:
    to = operands.address(instruction.operands[0], "b32")
    of = operands.address(instruction.operands[1], "b64")
    size = int(instruction.operands[2], 0)
    taken = operands.read(instruction.operands[3], "u32") if len(instruction.operands) > 3 else None

    def step(machine: "Machine", mask: Mask) -> None:
        lanes = _active(machine, mask)
        source = _of(of(machine), mask)
        full = np.full(len(lanes), size)
        count = full if taken is None else np.minimum(_of(taken(machine), mask), full)
        if not np.isin(count, (0, size)).all():
            raise UnsupportedError("the simulator does not know a cp.async of part of its bytes")
        some = count > 0  # the others are zeros, and their address is not looked at

        def fetch() -> Array:
            words = np.zeros((len(lanes), size // 4), np.uint32)
            if some.any():
                words[some] = machine.global_memory.load(
                    source[some], np.dtype(np.uint32), size // 4, lanes[some]
                )
            return words

        machine.shared.copy(_of(to(machine), mask), size, fetch, lanes)

    return step


def _decode_cvta(instruction: Instruction, operands: Operands) -> Step:
    """Between an address space and generic addresses."""
    window = {"local": LOCAL_WINDOW, "shared": SHARED_WINDOW}.get(space(instruction), 0)
    shift = np.uint64(window)
    out, value = instruction.operands
    read, write = operands.read(value, "b64"), operands.write(out, "b64")
    if "to" in instruction.modifiers:
        return lambda machine, mask: write(machine, read(machine) - shift, mask)
    return lambda machine, mask: write(machine, read(machine) + shift, mask)


def _decode_nothing(instruction: Instruction, _operands: Operands) -> Step:
    """Hints and fences: programs run one after the other, threads in lock-step."""
    del instruction
    return lambda _machine, _mask: None


DECODERS = {
    "ld": _decode_load,
    "ldu": _decode_load,
    "st": _decode_store,
    "atom": _decode_atomic,
    "red": _decode_atomic,
    "cp": _decode_copy,
    "cvta": _decode_cvta,
    **dict.fromkeys(
        ("fence", "membar", "prefetch", "prefetchu", "applypriority", "discard", "createpolicy"),
        _decode_nothing,
    ),
}
