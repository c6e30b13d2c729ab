"""Whether this machine can do what is asked of it, and what to do where it cannot: `ttt doctor`.

    finding     what a check says
    software    python, torch, triton, compiler
    device      the GPU and its driver
    kernels     one tile against the reference; what is kept of compiling
    disk        room and speed where the run will be written
    data        tokenizer and training data, by their hashes
    threads     threads against cores

A check yields findings. Whatever it raises is a finding, too: nothing may keep the others from
being made.
"""

from collections.abc import Callable, Iterator, Sequence

from ttt_config import InvalidValueError, RunConfig
from ttt_training.doctor.data import check_data, check_tokenizer
from ttt_training.doctor.device import check_device
from ttt_training.doctor.disk import check_disk
from ttt_training.doctor.finding import Finding, Status, problem
from ttt_training.doctor.kernels import check_caches, check_kernel
from ttt_training.doctor.software import check_compiler, check_python, check_torch, check_triton
from ttt_training.doctor.threads import check_threads

__all__ = ["CHECKS", "Finding", "Status", "examine"]

Check = Callable[[RunConfig], Iterator[Finding]]


def _of_machine(check: Callable[[], Iterator[Finding]]) -> Check:
    """A check that no configuration changes."""
    return lambda _: check()


CHECKS: dict[str, Check] = {
    "python": _of_machine(check_python),
    "torch": _of_machine(check_torch),
    "device": _of_machine(check_device),
    "triton": _of_machine(check_triton),
    "compiler": _of_machine(check_compiler),
    "kernel": _of_machine(check_kernel),
    "caches": _of_machine(check_caches),
    "threads": _of_machine(check_threads),
    "disk": check_disk,
    "tokenizer": check_tokenizer,
    "data": check_data,
}
"""By name, in the order in which a fault explains those after it."""


def examine(
    config: RunConfig,
    names: Sequence[str] = (),
    on_progress: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Make checks and give what they found, in their order.

    Args:
        config: of the run that is planned: its model, data and directory.
        names: of the checks; none: all.
        on_progress: told the name of each check before it is made.

    Raises:
        InvalidValueError: there is no check of that name.
    """
    for name in names:
        if name not in CHECKS:
            raise InvalidValueError(f"no check `{name}`, expected one of: {', '.join(CHECKS)}")
    found = []
    for name in names or CHECKS:
        if on_progress is not None:
            on_progress(name)
        try:
            found += CHECKS[name](config)
        except Exception as error:  # whatever is broken here, the other checks can be made
            text = f"{type(error).__name__}: {error}".split("\n")[0]
            fix = f"see what is wrong: ttt doctor {name} --debug"
            found.append(problem(name, f"the check itself failed: {text}", fix))
    return found
