"""The cheapest change that makes a run fit into memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ttt_config import HarnessError, RunConfig
from ttt_harness.devices import Kind
from ttt_harness.estimate import correct, expected_parts, shape_of
from ttt_harness.model import Peak
from ttt_harness.plan import Run
from ttt_harness.store import Store


class Remedy(NamedTuple):
    """A change to a run, and what the run would take with it."""

    change: str
    """As it is written in a harness file."""
    cost: str
    need_bytes: int


def find_remedy(
    run: Run,
    limit_bytes: int,
    trainer: Sequence[str],
    store: Store | None,
    kind: Kind,
    peaks: Sequence[Peak],
) -> Remedy | None:
    """Try changes, the cheapest first, until the run fits; None if none of them is enough."""
    for config, change, cost in _changes(run.config):
        shape = shape_of(config)
        parts = expected_parts({shape: run._replace(config=config)}, trainer, store, kind)[shape]
        if isinstance(parts, HarnessError):
            continue
        need_bytes = correct(parts, shape, kind, peaks).need_bytes
        if need_bytes <= limit_bytes:
            return Remedy(change, cost, need_bytes)
    return None


def _changes(config: RunConfig) -> Iterator[tuple[RunConfig, str, str]]:
    """Changes that leave the batch of a step as it is, then one of the arithmetic."""
    halvings = [config, *_halved(config)]
    for each in halvings[1:]:
        yield each, _written(each), "the same batches in smaller pieces"
    for each in halvings:
        if not config.train.activation_checkpointing:
            checked = _with(each, activation_checkpointing=True)
            yield checked, _written(checked), "about a third more time, the same numbers"
    if config.train.dtype == "f32":
        smallest = _with(halvings[-1], activation_checkpointing=True, dtype="bf16")
        yield smallest, _written(smallest), "half precision"


def _halved(config: RunConfig) -> Iterator[RunConfig]:
    size, pieces = config.train.batch_size, config.train.grad_accum_steps
    while size % 2 == 0:
        size, pieces = size // 2, pieces * 2
        yield _with(config, batch_size=size, grad_accum_steps=pieces)


def _with(config: RunConfig, **changes: object) -> RunConfig:
    return msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, **changes))


def _written(config: RunConfig) -> str:
    train = config.train
    told = [f"batch_size = {train.batch_size}", f"grad_accum_steps = {train.grad_accum_steps}"]
    told += ["activation_checkpointing = true"] if train.activation_checkpointing else []
    told += [f'dtype = "{train.dtype}"'] if train.dtype != "f32" else []
    return ", ".join(told)
