"""How many threads torch uses, against how many cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ttt_training.doctor.finding import Finding, ok, warning

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def check_threads() -> Iterator[Finding]:
    """Warn of threads that wait for each other, and of cores that wait for work."""
    import torch

    threads, cores = torch.get_num_threads(), usable_cores()
    given = ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ)
    found = f"{threads} threads on {cores} cores{given and f' ({given})'}"
    if threads > cores:
        fix = f"export OMP_NUM_THREADS={cores}"
        yield warning("threads", f"{found}: they wait for each other", fix)
    elif threads == 1 and cores > 1 and given:
        yield warning("threads", f"{found}: the others wait", f"unset {' '.join(_VARIABLES)}")
    else:
        yield ok("threads", found)


def usable_cores() -> int:
    """Cores this process may use: those it is bound to, or its share of them if that is less."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = bound or 1
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or `max`: no quota
        return cores
