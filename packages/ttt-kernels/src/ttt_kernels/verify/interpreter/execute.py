"""Running a launch in the interpreter."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from triton.runtime import interpreter as stock
from triton.tools.tensor_descriptor import TensorDescriptor

from ttt_kernels.verify.errors import LaunchError
from ttt_kernels.verify.interpreter.builder import HardenedBuilder
from ttt_kernels.verify.interpreter.language import interpreted_language
from ttt_kernels.verify.interpreter.memory import Memory
from ttt_kernels.verify.interpreter.rewrite import python_function
from ttt_kernels.verify.launch import Launch, intercepted, items
from ttt_kernels.verify.targets import find_target


@contextmanager
def hardened(*, bounds: bool = True, races: bool = True, target: str = "sm_80") -> Iterator[None]:
    """Run every kernel launched in the context on CPU tensors, as a GPU would compute it.

    bfloat16 rounds after each operation, `tl.dot` rounds its operands to tf32 where asked to and
    refuses what the target cannot multiply.

    Args:
        bounds: refuse loads, stores and atomics outside the argument they are computed from. Off,
            such an access goes to whatever memory lies there.
        races: refuse programs that touch one address, one of them with a store. Atomics among
            themselves are in order. Turn it off for programs that wait for each other's flags.
        target: whose rules hold for `tl.dot`.

    Raises:
        OutOfBoundsError: at the launch: an access leaves its argument.
        RaceError: at the launch: programs, or lanes of one store, race.
    """
    gpu = find_target(target)

    def handler(launch: Launch) -> None:
        memory = Memory(bounds=bounds, races=races)
        with interpreted_language(HardenedBuilder(gpu, memory)):
            _run(launch, memory)

    with intercepted(handler, gpu):
        yield


@contextmanager
def poisoned() -> Iterator[None]:
    """Fill every tensor that torch allocates without contents: NaN, or the largest integer.

    An output that a kernel forgets to write is then seen in the result.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    # torch.use_deterministic_algorithms does the same, and imports Inductor: 4 s.
    switch = torch._C._set_deterministic_algorithms
    switch(True, warn_only=False)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        switch(strict, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill


def _run(launch: Launch, memory: Memory) -> None:
    function = python_function(launch.kernel)
    constants = _constants(function)
    arguments = {
        name: value if name in constants else _convert(name, value, memory)
        for name, value in launch.arguments.items()
    }
    memory.seal()
    builder: Any = stock.interpreter_builder
    builder.set_grid_dim(*launch.grid)
    for program in product(*(range(size) for size in launch.grid)):
        builder.set_grid_idx(*program)
        function(**arguments)


def _constants(function: Any) -> set[str]:
    """Names of the parameters that are compile-time constants."""
    return {name for name, kind in function.__annotations__.items() if "constexpr" in str(kind)}


def _convert(name: str, value: Any, memory: Memory) -> Any:
    """Turn an argument into what the interpreted language works with."""
    if isinstance(value, tuple):
        converted = (_convert(*item, memory) for item in items(name, value))
        return stock._tuple_create(value, converted)
    if isinstance(value, TensorDescriptor):
        _check_device(name, value.base)
        converted = stock._implicit_cvt(value)
        converted.handle.base.data[...] = memory.add(name, value.base)
        return converted
    converted = stock._implicit_cvt(value)
    if hasattr(value, "data_ptr"):
        _check_device(name, value)
        converted.handle.data[...] = memory.add(name, value)
    return converted


def _check_device(name: str, tensor: Any) -> None:
    if tensor.device.type != "cpu":
        raise LaunchError(f"`{name}` is on {tensor.device}; the interpreter takes CPU tensors")
