"""Running a compiled kernel on CPU tensors."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from typing import Any

import torch

from ttt_kernels.verify.errors import LaunchError, UnsupportedError
from ttt_kernels.verify.launch import Launch, intercepted, leaves
from ttt_kernels.verify.offline.compiler import CompiledKernel, compile_launch
from ttt_kernels.verify.ptx.counts import ExecutionCounts
from ttt_kernels.verify.ptx.decode import Code, decode
from ttt_kernels.verify.ptx.execute import execute
from ttt_kernels.verify.ptx.global_memory import GlobalMemory
from ttt_kernels.verify.ptx.machine import Machine
from ttt_kernels.verify.ptx.program import Program, parse
from ttt_kernels.verify.ptx.shared_memory import SharedMemory
from ttt_kernels.verify.ptx.values import width
from ttt_kernels.verify.targets import find_target


@contextmanager
def simulated(target: str = "sm_80") -> Iterator[list[ExecutionCounts]]:
    """Compile every kernel launched in the context, and execute what the compiler made of it.

    Args:
        target: an NVIDIA target before sm_90, whose instructions the simulator knows.

    Returns:
        The list of what each launch did, filled as they are launched.

    Raises:
        KernelFaultError: at a launch: see `simulate`.
    """
    executions: list[ExecutionCounts] = []

    def handler(launch: Launch) -> None:
        compiled = compile_launch(launch, target)
        executions.append(simulate(compiled, launch.grid, **launch.arguments))

    with intercepted(handler, find_target(target)):
        yield executions


def simulate(
    kernel: CompiledKernel, grid: tuple[int, ...], *args: Any, **keywords: Any
) -> ExecutionCounts:
    """Execute a compiled kernel on CPU tensors, which then hold its results.

    Args:
        kernel: compiled for an NVIDIA target before sm_90.
        grid: programs along up to three axes.
        *args: what the kernel is launched with, as it was compiled; constants may be left out.
        **keywords: the same by name; those that the compiled kernel does not take are ignored.

    Returns:
        What was executed.

    Raises:
        OutOfBoundsError: an access outside the tensors, or outside shared memory.
        RaceError: warps of a program reach one address, and no barrier lies between.
        UninitializedError: a load of shared memory that nothing has written.
        BarrierError: a barrier or a shuffle that some threads do not reach.
        UnsupportedError: the simulator does not know an instruction.
        LaunchError: an argument is missing.
    """
    given = dict(zip(kernel.arguments, args, strict=False)) | keywords
    values = dict(leaf for argument in given.items() for leaf in leaves(*argument))
    missing = [name for name in kernel.parameters if name not in values]
    if missing:
        raise LaunchError(f"cannot run `{kernel.name}`: no `{missing[0]}`")
    taken = {name: values[name] for name in kernel.parameters}
    return execute_ptx(kernel.text("ptx"), kernel.shared_bytes, grid, taken)


def execute_ptx(
    ptx: str,
    shared_bytes: int,
    grid: tuple[int, ...],
    arguments: dict[str, Any],
    max_instructions: int = 20_000_000,
) -> ExecutionCounts:
    """Execute the kernel of a PTX module; see `simulate`.

    Args:
        ptx: with one kernel.
        shared_bytes: of shared memory that a program is given.
        grid: programs along up to three axes.
        arguments: of the kernel in order, by name: CPU tensors, integers, floats. What Triton adds
            behind them is zero.
        max_instructions: after which a program counts as hung.
    """
    program, code = _prepared(ptx)
    counts = ExecutionCounts()
    tensors = {name: each for name, each in arguments.items() if isinstance(each, torch.Tensor)}
    tensors |= {
        name: torch.tensor(list(values), dtype=torch.uint8)
        for name, values in program.constants.items()
    }
    memory = GlobalMemory(tensors, code.global_granule, counts)
    parameters = dict.fromkeys((name for name, _ in program.parameters), 0)
    for (name, kind), argument in zip(program.parameters, arguments.items(), strict=False):
        parameters[name] = _bits(*argument, kind, memory)
    x, y, z = (*grid, 1, 1)[:3]
    for program_id in product(range(x), range(y), range(z)):
        shared = SharedMemory(shared_bytes, code.shared_granule, counts)
        machine = Machine(
            program.threads,
            code.operands.containers,
            program.local_bytes,
            parameters,
            shared,
            memory,
            program_id,
            (x, y, z),
        )
        memory.barrier()
        execute(code, machine, counts, max_instructions)
    memory.write_back()
    return counts


@lru_cache(maxsize=32)
def _prepared(ptx: str) -> tuple[Program, Code]:
    program = parse(ptx)
    return program, decode(program)


def _bits(name: str, value: Any, kind: str, memory: GlobalMemory) -> int:
    """What a parameter holds."""
    if isinstance(value, torch.Tensor):
        return memory.address(name)
    if isinstance(value, float):
        return int.from_bytes(struct.pack("<f" if width(kind) == 4 else "<d", value), "little")
    if isinstance(value, int):
        return value
    raise UnsupportedError(f"the simulator takes tensors and numbers; `{name}` is {type(value)}")
