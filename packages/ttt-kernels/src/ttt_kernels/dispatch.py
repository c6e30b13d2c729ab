"""Which kernel computes the inner loop, and why."""

import difflib
from typing import NamedTuple

from ttt_kernels.errors import KernelUnavailableError

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

_INSTALLED = ("reference",)


class KernelChoice(NamedTuple):
    """A kernel and the reason it was chosen."""

    kernel: str
    reason: str


def available_kernels() -> tuple[str, ...]:
    """Names of the kernels that can run in this installation, the fastest first."""
    return _INSTALLED


def choose_kernel(name: str = "auto", *, preferred: str | None = None) -> KernelChoice:
    """Resolve a kernel name to a kernel that can run here.

    Args:
        name: a kernel, which must be available, or "auto" for the fastest available one.
        preferred: with "auto", the kernel to take where it is available; the reason records a
            fall-back.

    Raises:
        KernelUnavailableError: `name` or `preferred` is unknown, or `name` cannot run here.
    """
    for asked in (name, preferred):
        if asked is not None and asked not in ("auto", *KERNELS):
            close = difflib.get_close_matches(asked, KERNELS, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise KernelUnavailableError(
                f"unknown kernel `{asked}`: expected auto or one of {', '.join(KERNELS)}{hint}"
            )
    available = ", ".join(_INSTALLED)
    if name != "auto":
        if name not in _INSTALLED:
            raise KernelUnavailableError(
                f"kernel `{name}` is not available here (available: {available}); "
                "use kernel `auto` to fall back"
            )
        return KernelChoice(name, "asked for by name")
    if preferred is None or preferred in _INSTALLED:
        chosen = preferred or _INSTALLED[0]
        return KernelChoice(chosen, "fastest available" if preferred is None else "preferred")
    return KernelChoice(_INSTALLED[0], f"`{preferred}` is not available here")
