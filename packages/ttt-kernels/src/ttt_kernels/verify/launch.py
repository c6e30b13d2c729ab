"""Launches of Triton kernels, intercepted: `kernel[grid](...)` goes to a handler, not to a GPU.

The three ways to verify a kernel are three handlers: interpret it, compile it, simulate it. So code
that launches kernels, however deep inside an operator, is verified as it stands.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from triton.backends.compiler import GPUTarget
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

from ttt_kernels.verify.errors import LaunchError
from ttt_kernels.verify.targets import offline_driver


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes:
        kernel: the decorated function.
        grid: programs along x, y and z.
        arguments: what the kernel is called with, by name, defaults included.
        options: what is meant for the compiler: `num_warps`, `num_stages`...
    """

    kernel: Any
    grid: tuple[int, int, int]
    arguments: dict[str, Any]
    options: dict[str, Any]

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.__name__


def bind(kernel: Any, grid: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Launch:
    """Sort the arguments of a launch into those of the kernel and those of the compiler.

    Args:
        kernel: a function under `@triton.jit`.
        grid: up to three integers, or a function of the kernel's arguments that returns them.
        args: positional arguments of the kernel.
        keywords: the rest, options of the compiler among them.

    Raises:
        LaunchError: an argument is missing, or the grid is not one to three positive integers.
    """
    signature = inspect.signature(kernel.fn)
    own = {name: value for name, value in keywords.items() if name in signature.parameters}
    options = {name: value for name, value in keywords.items() if name not in own}
    try:
        bound = signature.bind(*args, **own)
    except TypeError as error:
        raise LaunchError(f"cannot launch `{kernel.__name__}`: {error}") from None
    bound.apply_defaults()
    sizes: Any = grid(dict(bound.arguments)) if callable(grid) else grid
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    whole = all(isinstance(size, int) and size > 0 for size in sizes)
    if not (whole and 1 <= len(sizes) <= 3):
        raise LaunchError(
            f"cannot launch `{kernel.__name__}`: a grid is one to three positive integers,"
            f" got {sizes}"
        )
    x, y, z = (*sizes, 1, 1)[:3]
    return Launch(kernel, (x, y, z), dict(bound.arguments), options)


def items(name: str, value: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """What is in a tuple that a kernel is given, each with a name: `name.field` or `name[0]`."""
    fields = getattr(value, "_fields", None)
    if fields is None:
        return [(f"{name}[{i}]", item) for i, item in enumerate(value)]
    return [(f"{name}.{field}", item) for field, item in zip(fields, value, strict=True)]


def leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An argument with its name; of a tuple, what is in it, however deep."""
    if isinstance(value, tuple):
        for each in items(name, value):
            yield from leaves(*each)
    else:
        yield name, value


_intercepting = 0


def intercepting() -> bool:
    """Whether launches go to a handler just now."""
    return _intercepting > 0


@contextmanager
def intercepted(handler: Callable[[Launch], Any], target: GPUTarget) -> Iterator[None]:
    """Give every launch in the context to `handler`, in all threads of the process.

    Args:
        handler: called instead of the launch; what it raises is raised there.
        target: what code that asks for the current device is told. An autotuner takes its first
            configuration.
    """
    kinds = (JITFunction, InterpretedFunction)
    originals = {kind: kind.run for kind in kinds}

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **keywords: Any) -> Any:
        if warmup:
            kind = next(kind for kind in kinds if isinstance(self, kind))
            return originals[kind](self, *args, grid=grid, warmup=warmup, **keywords)
        launch = bind(self, grid, args, keywords)
        try:
            return handler(launch)
        except Exception as error:
            error.add_note(f"in a launch of `{launch.name}` on {launch.grid} programs")
            raise

    global _intercepting  # noqa: PLW0603 - so is the method that is replaced
    _intercepting += 1
    for kind in kinds:
        kind.run = run
    try:
        with offline_driver(target):
            yield
    finally:
        _intercepting -= 1
        for kind, original in originals.items():
            kind.run = original
