"""Errors of the kernels package, which depends on nothing but torch.

KernelError                      exit code 6
|- ShapeError                    an argument has the wrong shape, dtype or device
`- KernelUnavailableError        the kernel asked for cannot run here
"""


class KernelError(Exception):
    """Any failure of this package that the caller can mend."""

    exit_code = 6


class ShapeError(KernelError, ValueError):
    """An argument has the wrong shape, dtype or device."""


class KernelUnavailableError(KernelError, RuntimeError):
    """The kernel asked for by name does not exist or cannot run here."""
