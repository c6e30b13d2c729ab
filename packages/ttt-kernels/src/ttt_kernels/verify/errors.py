"""What verification finds wrong with a kernel.

VerifyError
|- CompileError            the compiler refuses the kernel, or dies of it
|- LaunchError             the kernel was given arguments it cannot be verified with
|- UnsupportedError        the kernel uses something the interpreter or the simulator does not know
`- KernelFaultError             the kernel itself is wrong
   |- OutOfBoundsError     an access outside the memory of every argument, or of shared memory
   |- RaceError            two programs, or two warps, reach one address without order
   |- UninitializedError   a read of shared memory that nothing has written
   `- BarrierError         a barrier that only some threads reach
"""


class VerifyError(Exception):
    """Any failure of this package that the author of a kernel can mend."""


class CompileError(VerifyError):
    """The compiler refuses the kernel, or dies of it.

    Attributes:
        log: everything the compiler printed.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class LaunchError(VerifyError, ValueError):
    """The kernel was given arguments it cannot be verified with."""


class UnsupportedError(VerifyError, NotImplementedError):
    """The kernel uses something that the interpreter or the simulator does not know."""


class KernelFaultError(VerifyError):
    """The kernel itself is wrong."""


class OutOfBoundsError(KernelFaultError):
    """An access outside the memory of every argument, or outside shared memory."""


class RaceError(KernelFaultError):
    """Two programs, or two warps of one program, reach one address without order."""


class UninitializedError(KernelFaultError):
    """A read of shared memory that nothing has written."""


class BarrierError(KernelFaultError):
    """A barrier that only some of the threads reach."""
