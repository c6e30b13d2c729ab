"""The memory a run takes: what its trainer expects, corrected by what past runs have held.

    need = outside + peak                  if this shape has run on this kind of device
    need = outside + expected + excess     if it has not

`expected` is the trainer's own dry run: parameters, gradients, moments, what the forward keeps for
the backward in the dtype of the run (inner states and their checkpoints among it), and scores.
`excess` is the most that any other past run has held beyond that. `outside` is what a peak does not
see: on a GPU the driver's context; on a CPU nothing, for there a peak is of the whole process.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple

from ttt_config import HarnessError, RunConfig
from ttt_config.fields import flatten
from ttt_harness.devices import GIB, Kind
from ttt_harness.model import Peak
from ttt_harness.plan import Run
from ttt_harness.store import Store
from ttt_harness.trainer import expected_memory

_OUTSIDE: Mapping[Kind, int] = {"cpu": 0, "cuda": 3 * GIB // 4, "hip": 3 * GIB // 4}
_EXCESS: Mapping[Kind, int] = {"cpu": GIB, "cuda": GIB // 4, "hip": GIB // 4}
"""Until a run was measured; on a CPU that is Python, torch and its compiler."""

_SHAPING = (
    "train.batch_size",
    "train.dtype",
    "train.activation_checkpointing",
    "train.compile",
    "data.tokenizer",
)
"""Fields besides those of the model that the memory depends on."""

_AT_ONCE = 4

OnProgress = Callable[[int, int], None]
"""Told how many of how many are done."""


def untold(done: int, of: int) -> None:
    """Tell nobody."""


class MemoryEstimate(NamedTuple):
    """What a run takes, in bytes."""

    parts: Mapping[str, int]
    """By what it is for, as the trainer expects; empty if the user said what the run takes."""
    need_bytes: int
    """To be reserved."""
    basis: Literal["given", "measured", "expected"]

    @property
    def expected_bytes(self) -> int:
        """By the trainer."""
        return sum(self.parts.values())


def shape_of(config: RunConfig) -> str:
    """A name for all that the memory of a run depends on; runs that share it take the same."""
    values = flatten(config)
    chosen = {path: values[path] for path in values if path.startswith("model.")}
    chosen |= {path: values[path] for path in _SHAPING}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def correct(
    parts: Mapping[str, int], shape: str, kind: Kind, peaks: Iterable[Peak]
) -> MemoryEstimate:
    """Put what the trainer expects right by what was measured."""
    past = [peak for peak in peaks if peak.device_kind == kind]
    own = next((peak.peak_bytes for peak in past if peak.shape == shape), None)
    if own is not None:
        return MemoryEstimate(parts, _OUTSIDE[kind] + own, "measured")
    excesses = [
        max(0, each.peak_bytes - each.estimate_bytes) for each in past if each.estimate_bytes
    ]
    excess = max(excesses, default=_EXCESS[kind])
    return MemoryEstimate(parts, _OUTSIDE[kind] + sum(parts.values()) + excess, "expected")


def estimate_memory(
    runs: Sequence[Run],
    trainer: Sequence[str],
    store: Store | None,
    kind: Kind,
    on_progress: OnProgress = untold,
) -> dict[str, MemoryEstimate | HarnessError]:
    """What each run takes, or why its trainer refuses it.

    Args:
        runs: of a plan.
        trainer: the command `ttt`; asked once for each shape.
        store: where answers and peaks of earlier runs are kept; None: nowhere.
        kind: of the devices they are to run on.
        on_progress: told how many shapes of how many are known.
    """
    asked = {shape_of(run.config): run for run in runs if run.entry.memory_gb is None}
    parts = expected_parts(asked, trainer, store, kind, on_progress)
    peaks = store.peaks() if store else []
    found: dict[str, MemoryEstimate | HarnessError] = {}
    for run in runs:
        if run.entry.memory_gb is not None:
            found[run.name] = MemoryEstimate({}, int(run.entry.memory_gb * GIB), "given")
            continue
        answer = parts[shape_of(run.config)]
        if isinstance(answer, HarnessError):
            found[run.name] = answer
        else:
            found[run.name] = correct(answer, shape_of(run.config), kind, peaks)
    return found


def expected_parts(
    asked: Mapping[str, Run],
    trainer: Sequence[str],
    store: Store | None,
    kind: Kind,
    on_progress: OnProgress = untold,
) -> dict[str, dict[str, int] | HarnessError]:
    """What the trainer expects, by shape; some at a time, for each takes seconds."""
    known: dict[str, dict[str, int] | HarnessError] = {}
    for shape in asked:
        kept = store.estimate(f"{kind} {shape}") if store else None
        if kept is not None:
            known[shape] = json.loads(kept)
    missing = {shape: run.config for shape, run in asked.items() if shape not in known}
    workers = max(1, min(_AT_ONCE, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(partial(_ask, trainer), missing.values())
        for shape, answer in zip(missing, answers, strict=True):
            known[shape] = answer
            if store and not isinstance(answer, HarnessError):
                store.record_estimate(f"{kind} {shape}", json.dumps(answer))
            on_progress(len(known), len(asked))
    return known


def _ask(trainer: Sequence[str], config: RunConfig) -> dict[str, int] | HarnessError:
    try:
        return expected_memory(trainer, config)
    except HarnessError as error:
        return error
