"""How long forms of a kernel take on the GPU of this machine.

Only `tune` asks. What it finds is data by the time a model runs, when nothing is measured.
"""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import torch

from ttt_kernels.gpu.launch import Form, launched_as, target_of
from ttt_kernels.gpu.trial import Trial


class Load(NamedTuple):
    """How much a timed call has to do.

    Attributes:
        programs: for each multiprocessor.
        mini_batches: that each of them reads, one after the other.
    """

    programs: int
    mini_batches: int


LOADS = {"latency": Load(1, 512), "throughput": Load(8, 128)}
"""By the name of the form: long enough that it is the GPU which is waited for, not Python."""

HEADS = 12
"""Of the timed layer, as in a model of 125 million parameters: how far tokens are apart in memory
matters."""


def can_time(target: str) -> bool:
    """Whether this machine has a GPU of that target."""
    return torch.cuda.is_available() and target_of(torch.device("cuda")) == target


def time_forms(trial: Trial, direction: str, forms: Iterable[Form]) -> dict[Form, dict[str, float]]:
    """Milliseconds of one direction in every form under each of `LOADS`, by the name of the load.

    Args:
        trial: the kernel and its shape; how much is read is up to the load.
        direction: `forward` or `backward`; the other one has the form of the launch table.
        forms: that compile.
    """
    times: dict[Form, dict[str, float]] = {form: {} for form in forms}
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    for name, load in LOADS.items():
        sequences = load.programs * processors // HEADS
        loaded = replace(trial, sequences=sequences, mini_batches=load.mini_batches, heads=HEADS)
        call = loaded.call(direction, "cuda")
        for form, found in times.items():
            with launched_as({f"{trial.family}_{direction}": form}):
                found[name] = median_ms(call)
    return times


def median_ms(call: Callable[[], object]) -> float:
    """Of a call on the GPU, with cold caches."""
    from triton.testing import do_bench

    return statistics.median(do_bench(call, warmup=10, rep=50, return_mode="all"))
