"""Which kernel computes the inner loop, and why.

`INSTALLED` is where kernels are entered (`ttt_kernels.kernel` says what they are), and
`capability.CAPABILITIES` where what they can do is.
"""

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

from ttt_kernels.capability import CAPABILITIES, Capability, Problem
from ttt_kernels.cpu.kernel import CpuKernel
from ttt_kernels.errors import KernelUnavailableError
from ttt_kernels.gpu.kernel import TritonKernel
from ttt_kernels.kernel import InnerLoop, Kernel
from ttt_kernels.reference.kernel import ReferenceKernel

_TRITON_KERNELS: dict[str, Kernel] = {
    "tile-multi": TritonKernel("tile", mini_batches=None),
    "tile": TritonKernel("tile", mini_batches=1),
    "naive-multi": TritonKernel("naive", mini_batches=None),
    "naive": TritonKernel("naive", mini_batches=1),
}

KERNELS = tuple(CAPABILITIES)
"""Every kernel name the project speaks of, whether or not this installation has it."""

INSTALLED: dict[str, Kernel] = {
    **(_TRITON_KERNELS if find_spec("triton") else {}),
    **({"cpu": CpuKernel()} if find_spec("numba") else {}),
    "reference": ReferenceKernel(),
}
"""The kernels of this installation by name, the fastest first; the last one refuses nothing."""


class KernelChoice(NamedTuple):
    """A kernel and the reason it was chosen."""

    kernel: str
    reason: str


@dataclass(frozen=True)
class KernelStatus:
    """A kernel the project speaks of.

    Attributes:
        name: of the kernel.
        available: whether this installation has it.
        reason: why it has not.
        capability: what it can compute.
    """

    name: str
    available: bool
    reason: str | None
    capability: Capability


def kernel_statuses() -> list[KernelStatus]:
    """Every kernel name, the available ones first and of these the fastest first."""
    return [
        KernelStatus(
            name,
            available=name in INSTALLED,
            reason=None if name in INSTALLED else CAPABILITIES[name].missing(),
            capability=CAPABILITIES[name],
        )
        for name in dict.fromkeys((*INSTALLED, *KERNELS))
    ]


def available_kernels() -> tuple[str, ...]:
    """Names of the kernels that can run in this installation, the fastest first."""
    return tuple(INSTALLED)


def choose_kernel(
    name: str = "auto",
    *,
    preferred: str | None = None,
    problem: Problem | None = None,
    loop: InnerLoop | None = None,
) -> KernelChoice:
    """Resolve a kernel name to a kernel that can run here.

    Args:
        name: a kernel, which must be available, or "auto" for the fastest available one.
        preferred: with "auto", the kernel to take where it is available; the reason records a
            fall-back.
        problem: what is to be computed, as far as it is known; None asks for the installation
            alone.
        loop: the arguments to be computed, which say all of that.

    Raises:
        KernelUnavailableError: `name` or `preferred` is unknown, or `name` cannot run here.
    """
    for asked in (name, preferred):
        if asked is not None and asked not in ("auto", *KERNELS):
            raise KernelUnavailableError(_unknown(asked))
    if loop is not None:
        problem = Problem.of(loop)
    if name != "auto":
        refusal = _refusal(name, problem, loop)
        if refusal is not None:
            raise KernelUnavailableError(f"kernel {refusal}; use kernel `auto` to fall back")
        return KernelChoice(name, "asked for by name")
    refusal = None
    if preferred is not None and preferred != "auto":
        refusal = _refusal(preferred, problem, loop)
        if refusal is None:
            return KernelChoice(preferred, "preferred by the layer type")
    device = None if problem is None else problem.device
    runs = [
        each
        for each in INSTALLED
        if CAPABILITIES[each].runs_on(device) and _refusal(each, problem, loop) is None
    ]
    fastest = "the fastest that can" if problem is None else f"the fastest for {problem.kind} here"
    return KernelChoice(runs[0], fastest if refusal is None else f"{refusal}; {fastest}")


def _refusal(name: str, problem: Problem | None, loop: InnerLoop | None) -> str | None:
    """Say why a kernel cannot run; None if it can."""
    if name not in INSTALLED:
        missing = f"`{name}` is not available here: {CAPABILITIES[name].missing()}"
        return f"{missing} (available: {', '.join(INSTALLED)})"
    refusal = None if problem is None else CAPABILITIES[name].refusal(problem)
    if refusal is None and loop is not None:
        refusal = INSTALLED[name].refusal(loop)
    return None if refusal is None else f"`{name}` cannot run this: {refusal}"


def _unknown(asked: str) -> str:
    close = difflib.get_close_matches(asked, KERNELS, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"unknown kernel `{asked}`: expected auto or one of {', '.join(KERNELS)}{hint}"
