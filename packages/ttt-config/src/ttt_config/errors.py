"""Every error of the project that a user can cause, and the exit code each one ends `ttt` with.

    TTTError                          1
    |-- ConfigError                   3   also a ValueError
    |   |-- UnknownFieldError             a key that no field has
    |   |-- InvalidValueError             one field's value is wrong by itself
    |   `-- IncompatibleError             values that are fine alone but not together
    |-- DataError                     4
    |   |-- TokenizerError
    |   `-- TokenStoreCorruptError        a file of the store is not what its manifest says
    |-- CheckpointError               5
    |   |-- CheckpointIncompleteError     a file is missing or short
    |   |-- CheckpointCorruptError        a file is not what the manifest says
    |   `-- CheckpointMismatchError       a whole checkpoint, but of another model or run
    |-- TrainingError                 7
    |   |-- NonFiniteError                loss or gradient is not a number
    |   `-- PreemptedError           75   stopped by a signal, can be resumed
    `-- HarnessError                  9
        |-- LockHeldError                 another harness works on the same state
        `-- RunFailedError                a supervised run failed for good

6 belongs to the kernels' own tree (`ttt_kernels` imports no other package), 2 to a misused command
line. A message is one line: what failed and where, expected versus got, what to do.
"""

from collections.abc import Sequence
from typing import ClassVar


class TTTError(Exception):
    """Root of the tree; catch it to catch everything the project raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(TTTError, ValueError):
    """A configuration cannot be used.

    Attributes:
        issues: the single errors found, each with a one-line message; just this error if it is one.
    """

    exit_code = 3

    def __init__(self, message: str, issues: Sequence["ConfigError"] = ()) -> None:
        super().__init__(message)
        self.issues: tuple[ConfigError, ...] = tuple(issues) or (self,)

    @classmethod
    def combine(cls, issues: Sequence["ConfigError"]) -> "ConfigError":
        """Fold the issues into one error; of their own class when they all share one."""
        if len(issues) == 1:
            return issues[0]
        classes = {type(issue) for issue in issues}
        shared = classes.pop() if len(classes) == 1 else ConfigError
        return shared("\n".join(str(issue) for issue in issues), issues)


class UnknownFieldError(ConfigError):
    """A key names no field."""


class InvalidValueError(ConfigError):
    """The value of one field has the wrong type, is out of range or is not one of its choices."""


class IncompatibleError(ConfigError):
    """Values of several fields contradict each other."""


class DataError(TTTError):
    """Training text or tokens cannot be read."""

    exit_code = 4


class TokenizerError(DataError):
    """A tokenizer cannot be found, read, or used with this model."""


class TokenStoreCorruptError(DataError):
    """A file of a token store differs from what its manifest promises, or is missing."""


class CheckpointError(TTTError):
    """A training checkpoint cannot be used."""

    exit_code = 5


class CheckpointIncompleteError(CheckpointError):
    """A file of the checkpoint is missing or shorter than it was written."""


class CheckpointCorruptError(CheckpointError):
    """A file of the checkpoint differs from what its manifest promises."""


class CheckpointMismatchError(CheckpointError):
    """The checkpoint is whole but belongs to another model, tokenizer or run."""


class TrainingError(TTTError):
    """Training cannot go on."""

    exit_code = 7


class NonFiniteError(TrainingError):
    """A loss or a gradient became NaN or infinite."""


class PreemptedError(TrainingError):
    """A signal stopped the run after its last checkpoint; it can be resumed."""

    exit_code = 75


class HarnessError(TTTError):
    """Runs cannot be supervised, or not as asked."""

    exit_code = 9


class LockHeldError(HarnessError):
    """Another harness works on the same state."""


class RunFailedError(HarnessError):
    """A supervised run failed for good."""
