"""What the harness knows of a run, and the words it uses for it."""

from typing import Literal, NamedTuple

RunStatus = Literal["pending", "starting", "running", "completed", "failed", "skipped", "stopped"]
"""`starting`: it was decided, and perhaps done; settled at once by the supervisor, or the next."""

Cause = Literal[
    "out of memory",
    "not finite",
    "signal",
    "crash",
    "hang",
    "silence",
    "slow start",
    "configuration",
    "data",
    "checkpoint",
    "kernel",
]
"""Why an attempt ended without completing."""

ACTIVE: tuple[RunStatus, ...] = ("starting", "running")
FINAL: tuple[RunStatus, ...] = ("completed", "failed", "skipped", "stopped")


class RunRecord(NamedTuple):
    """A row of the state: one run."""

    name: str
    position: int = 0
    """In the plan."""
    planned: bool = True
    """Whether the file that is worked on asks for it."""
    priority: int = 0
    after: tuple[str, ...] = ()
    out: str = ""
    """Its directory, absolute."""
    config: str = ""
    """Whole, as TOML."""
    shape: str = ""
    """Of what its memory depends on."""
    estimate_bytes: int = 0
    """By the trainer's dry run; 0 if the user said what it takes."""
    need_bytes: int = 0
    """What is reserved for it: the estimate corrected by what past runs held."""
    status: RunStatus = "pending"
    retries: int = 0
    memory_failures: int = 0
    """Attempts that ran out of memory."""
    not_before: float = 0.0
    """Seconds since the epoch; it waits until then."""
    reason: str = ""
    """Why it is in this status, for people."""
    attempt: int = 0
    """Attempts begun."""
    token: str = ""
    """Of the last attempt."""
    handle: str = ""
    """By which the launcher knows the last attempt; empty until it has said."""
    device: str = ""
    reserved_bytes: int = 0
    log_start: int = 0
    """Where in stdout.log the last attempt begins; in bytes."""
    error_start: int = 0
    """The same of stderr.log."""
    started: float | None = None
    """Of the last attempt; seconds since the epoch."""
    finished: float | None = None
    steps: int | None = None
    step: int | None = None
    """The last that was seen, as of `saved`, which is that of a checkpoint."""
    saved: int | None = None


class Attempt(NamedTuple):
    """One try at a run that has ended."""

    run: str
    number: int
    cause: str
    """`completed`, `stopped` or a `Cause`."""
    detail: str
    """Last lines of what it said, or what was done to it."""
    device: str
    started: float
    ended: float


class Peak(NamedTuple):
    """The most memory a run has held, beside what was expected."""

    shape: str
    device_kind: str
    estimate_bytes: int
    peak_bytes: int
