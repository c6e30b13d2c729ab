"""Which kernel computes the inner loop, and why.

`INSTALLED` is where kernels are entered (`ttt_kernels.kernel` says what they are).
"""

import difflib
from typing import NamedTuple

from ttt_kernels.errors import KernelUnavailableError
from ttt_kernels.kernel import InnerLoop, Kernel
from ttt_kernels.reference.kernel import ReferenceKernel

KERNELS = (
    "reference",
    "cpu",
    "naive",
    "naive-multi",
    "tile",
    "tile-multi",
    "d2d-streaming",
    "ptr-streaming",
)
"""Every kernel name the project speaks of, whether or not this installation has it."""

INSTALLED: dict[str, Kernel] = {"reference": ReferenceKernel()}
"""The kernels of this installation by name, the fastest first; the last one refuses nothing."""


class KernelChoice(NamedTuple):
    """A kernel and the reason it was chosen."""

    kernel: str
    reason: str


def available_kernels() -> tuple[str, ...]:
    """Names of the kernels that can run in this installation, the fastest first."""
    return tuple(INSTALLED)


def choose_kernel(
    name: str = "auto", *, preferred: str | None = None, loop: InnerLoop | None = None
) -> KernelChoice:
    """Resolve a kernel name to a kernel that can run here.

    Args:
        name: a kernel, which must be available, or "auto" for the fastest available one.
        preferred: with "auto", the kernel to take where it is available; the reason records a
            fall-back.
        loop: the arguments to be computed; None asks for the installation alone.

    Raises:
        KernelUnavailableError: `name` or `preferred` is unknown, or `name` cannot run here.
    """
    for asked in (name, preferred):
        if asked is not None and asked not in ("auto", *KERNELS):
            raise KernelUnavailableError(_unknown(asked))
    if name != "auto":
        if name not in INSTALLED:
            raise KernelUnavailableError(
                f"kernel `{name}` is not available here (available: {', '.join(INSTALLED)}); "
                "use kernel `auto` to fall back"
            )
        refusal = None if loop is None else INSTALLED[name].refusal(loop)
        if refusal is not None:
            raise KernelUnavailableError(
                f"kernel `{name}` cannot run this: {refusal}; use kernel `auto` to fall back"
            )
        return KernelChoice(name, "asked for by name")
    if preferred in INSTALLED and (loop is None or INSTALLED[preferred].refusal(loop) is None):
        return KernelChoice(preferred, "preferred")
    runs = [n for n, kernel in INSTALLED.items() if loop is None or kernel.refusal(loop) is None]
    if preferred in (None, "auto"):
        return KernelChoice(runs[0], "fastest available")
    return KernelChoice(runs[0], f"`{preferred}` is not available here")


def _unknown(asked: str) -> str:
    close = difflib.get_close_matches(asked, KERNELS, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"unknown kernel `{asked}`: expected auto or one of {', '.join(KERNELS)}{hint}"
