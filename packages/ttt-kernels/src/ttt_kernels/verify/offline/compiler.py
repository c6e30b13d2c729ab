"""Compiling a kernel for any target, on any machine."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import triton

from ttt_kernels.verify.errors import CompileError
from ttt_kernels.verify.launch import Launch, bind, intercepted
from ttt_kernels.verify.offline.analysis import analyse
from ttt_kernels.verify.offline.frontend import lower
from ttt_kernels.verify.offline.report import KernelReport
from ttt_kernels.verify.targets import find_target

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel compiled for one target.

    Attributes:
        name: of the kernel.
        target: one of `TARGETS`.
        num_warps: warps of a program.
        num_stages: depth of software pipelining that was asked for.
        shared_bytes: shared memory of a program.
        arguments: names of all that the kernel is called with, in order.
        parameters: names of what the compiled code takes, in order, as `Lowered.parameters`.
        folder: where every stage is kept, as `kernel.ttir`, `kernel.ptx`...
    """

    name: str
    target: str
    num_warps: int
    num_stages: int
    shared_bytes: int
    arguments: tuple[str, ...]
    parameters: tuple[str, ...]
    folder: Path

    def text(self, stage: str) -> str:
        """The code after a stage: `ttir`, `ttgir`, `llir`, then `ptx` or `amdgcn`.

        Raises:
            KeyError: the target has no such stage.
        """
        path = self.folder / f"kernel.{stage}"
        if not path.is_file():
            raise KeyError(f"`{self.name}` for {self.target} has no stage `{stage}`")
        return path.read_text()

    @cached_property
    def report(self) -> KernelReport:
        """What the machine code is made of."""
        return analyse(self)


def compile_kernel(
    kernel: Any,
    *args: Any,
    target: str = "sm_80",
    timeout_s: float = 600.0,
    **keywords: Any,
) -> CompiledKernel:
    """Compile a kernel for the arguments of a launch, without launching it.

    The result is kept in the folder `offline` of Triton's cache (TRITON_CACHE_DIR), under a hash
    of the kernel's IR, the options, the target and the version of Triton.

    Args:
        kernel: a function under `@triton.jit`.
        *args: what the kernel would be launched with: CPU tensors, numbers, constants.
        target: one of `TARGETS`.
        timeout_s: how long the compiler may take.
        **keywords: further arguments, and options of the compiler: `num_warps`, `num_stages`,
            `maxnreg`, `waves_per_eu`...

    Raises:
        CompileError: the compiler refuses the kernel, dies of it, or takes too long.
        LaunchError: an argument is missing, or an option or the target is unknown.
    """
    return compile_launch(bind(kernel, 1, args, keywords), target, timeout_s)


@contextmanager
def compiling(*targets: str) -> Iterator[list[CompiledKernel]]:
    """Compile what is launched in the context for each target; nothing runs.

    Args:
        *targets: at least one of `TARGETS`.

    Returns:
        The list of compiled kernels, filled as they are launched.

    Raises:
        CompileError: at a launch: see `compile_kernel`.
    """
    compiled: list[CompiledKernel] = []

    def handler(launch: Launch) -> None:
        compiled.extend(compile_launch(launch, target) for target in targets)

    with intercepted(handler, find_target(targets[0])):
        yield compiled


def compile_launch(launch: Launch, target: str, timeout_s: float = 600.0) -> CompiledKernel:
    """Compile the kernel of a launch for a target; see `compile_kernel`."""
    gpu = find_target(target)
    lowered = lower(launch, gpu)
    request = json.dumps({"target": vars(gpu), "options": launch.options}, sort_keys=True)
    key = hashlib.sha256("\0".join((triton.__version__, request, lowered.text)).encode())
    store = Path(triton.knobs.cache.dir) / "offline"
    folder = store / key.hexdigest()[:40]
    if not (folder / "metadata.json").is_file():
        store.mkdir(parents=True, exist_ok=True)
        _compile(launch.name, target, request, lowered.text, folder, timeout_s)
    metadata = json.loads((folder / "metadata.json").read_text())
    return CompiledKernel(
        name=launch.name,
        target=target,
        num_warps=metadata["num_warps"],
        num_stages=metadata["num_stages"],
        shared_bytes=metadata["shared"],
        arguments=tuple(launch.arguments),
        parameters=lowered.parameters,
        folder=folder,
    )


def _compile(
    name: str, target: str, request: str, source: str, folder: Path, timeout_s: float
) -> None:
    """Run the worker in a temporary folder, which is given its name when all of it is there."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        (work / "request.json").write_text(request)
        (work / "kernel.source").write_text(source)
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        environment["PYTHONPATH"] = str(Path(triton.__file__).parent.parent)
        try:
            worker = subprocess.run(  # noqa: S603  (our own interpreter, our own script)
                [sys.executable, str(_WORKER), str(work)],
                capture_output=True,
                text=True,
                errors="replace",
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            message = f"cannot compile `{name}` for {target}: not done after {timeout_s:.0f} s"
            raise CompileError(message) from None
        if worker.returncode != 0 or not (work / "metadata.json").is_file():
            reason = _reason(worker.stderr, worker.returncode)
            raise CompileError(f"cannot compile `{name}` for {target}: {reason}", worker.stderr)
        (work / "compiler.log").write_text(worker.stdout)
        try:
            work.rename(folder)
        except OSError:  # another process was faster: its result is the same
            if not (folder / "metadata.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reason(stderr: str, code: int) -> str:
    """What the compiler says first, or how it died."""
    said_by_ptxas = r"^ptxas .*?\b(?:error|fatal)\s*: (.+)$"
    for pattern in (said_by_ptxas, r"^\S*\s*error: (.+)$", r"^LLVM ERROR: (.+)$"):
        if said := re.search(pattern, stderr, re.MULTILINE):
            return said[1].strip()
    lines = stderr.strip().splitlines()
    if code < 0:
        return f"the compiler was ended by signal {-code}"
    return lines[-1].strip() if lines else f"the compiler ended with code {code}"
