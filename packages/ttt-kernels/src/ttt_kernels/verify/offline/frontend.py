"""From a launch to Triton IR: what a GPU's driver would do at the first call of a kernel.

The arguments are ordinary CPU tensors and numbers. Their types, the alignment of pointers, and
integers that are 1 or divisible by 16 are specialised as they would be on a device.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.errors import CompilationError
from triton.runtime.jit import JITFunction

from ttt_kernels.verify.errors import CompileError, LaunchError
from ttt_kernels.verify.launch import Launch, leaves
from ttt_kernels.verify.targets import offline_driver


@dataclass(frozen=True)
class Lowered:
    """A kernel as Triton IR.

    Attributes:
        text: the module.
        parameters: names of the arguments that the compiled kernel takes, in order, those in tuples
            one by one; the others have become constants.
    """

    text: str
    parameters: tuple[str, ...]


def lower(launch: Launch, target: GPUTarget) -> Lowered:
    """Write the kernel of a launch as Triton IR for a target.

    Raises:
        CompileError: the kernel is not valid Triton.
        LaunchError: an option is unknown, or Triton runs in interpreter mode.
    """
    kernel = launch.kernel
    if not isinstance(kernel, JITFunction):
        raise LaunchError(
            f"cannot compile `{launch.name}`: Triton was imported with TRITON_INTERPRET=1, under"
            f" which it compiles nothing; unset it"
        )
    with offline_driver(target):
        _, _, _, backend, binder = kernel.create_binder()
        given = {**launch.arguments, **launch.options}
        try:
            bound, specialization, options = binder(**given)
            options, signature, constants, attributes = kernel._pack_args(
                backend, given, bound, specialization, options
            )
        except KeyError as error:
            raise LaunchError(f"cannot compile `{launch.name}`: {error.args[0]}") from None
        source = ASTSource(kernel, signature, constants, attributes)
        context = ir.context()
        ir.load_dialects(context)
        backend.load_dialects(context)
        functions = backend.get_codegen_implementation(options)
        modules = backend.get_module_map()
        log: list[str] = []
        try:
            with captured_stderr(log):
                module = source.make_ir(target, options, functions, modules, context)
        except Exception as error:
            message = f"cannot compile `{launch.name}`: {_reason(error)}"
            raise CompileError(message, "".join(log)) from error
        return Lowered(str(module), tuple(_parameters(launch, signature)))


def _parameters(launch: Launch, signature: dict[str, Any]) -> Iterator[str]:
    """Names of what has not become a constant; a constant tuple is one of the signature."""
    for name, kind in signature.items():
        if kind != "constexpr":
            kinds = leaves(name, kind)
            for (leaf, _), (_, each) in zip(
                leaves(name, launch.arguments[name]), kinds, strict=True
            ):
                if each != "constexpr":
                    yield leaf


@contextmanager
def captured_stderr(log: list[str]) -> Iterator[None]:
    """Append to `log` what MLIR writes to file descriptor 2, past Python."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            log.append(file.read().decode(errors="replace"))


def _reason(error: BaseException) -> str:
    """The innermost cause, with the line of the kernel it comes from."""
    place = ""
    cause: BaseException | None = error
    while isinstance(cause, CompilationError):
        node: Any = cause.node
        source = (cause.src or "").splitlines()
        if node is not None and 0 < node.lineno <= len(source):
            place = f" at line {node.lineno}: `{source[node.lineno - 1].strip()}`"
        if cause.__cause__ is None:
            return f"{cause.error_message or type(cause).__name__}{place}"
        cause = cause.__cause__
    return f"{cause or type(cause).__name__}{place}"
