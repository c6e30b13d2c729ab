"""Runs beside each other as plain numbers: what they reached, what they cost, how they differ."""

import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ttt_config.fields import flatten_tables
from ttt_harness.model import ACTIVE, Attempt, RunRecord
from ttt_harness.store import Store

_METRICS_NAME = "metrics.jsonl"
_OF_THE_PLACE = {"out"}
"""Settings that differ because the runs do."""

Curve = list[tuple[int, float]]
"""Step and value, in the order of steps."""


class RunSummary(NamedTuple):
    """What a run came to; None is not measured, or not finite."""

    name: str
    status: str
    reason: str
    retries: int
    out: str
    step: int | None
    """The last that was logged."""
    tokens: int | None
    """Trained on up to there; what was done twice counts once."""
    train_loss: float | None
    """Of the last logged step, nats a token."""
    val_loss: float | None
    """Of the last evaluation, nats a token."""
    best_val_loss: float | None
    val_bpb: float | None
    """Of the last evaluation, bits a byte."""
    tokens_per_s: float | None
    """Median over what was logged."""
    peak_memory_bytes: int | None
    wall_s: float
    """Of all attempts together; time in a queue aside."""
    device_hours: float
    """The same in hours: an attempt has one device."""
    settings: dict[str, object]
    """By dotted path, those that are not the same in all runs; None: not set."""
    attempts: list[Attempt]
    train_curve: Curve
    val_curve: Curve


def compare(store: Store, names: Sequence[str], now: float) -> list[RunSummary]:
    """Summarize runs, in the order of the plan.

    Args:
        store: their state.
        names: which of its runs.
        now: seconds since the epoch; attempts that go on are counted up to it.
    """
    runs = [run for run in store.runs() if run.name in names]
    settings = differences({run.name: flatten_tables(tomllib.loads(run.config)) for run in runs})
    return [_summary(run, store.attempts(run.name), settings[run.name], now) for run in runs]


def differences(configs: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Of each configuration, what is not the same in all of them."""
    paths = dict.fromkeys(path for config in configs.values() for path in config)
    differing = [
        path
        for path in paths
        if path not in _OF_THE_PLACE
        and len({repr(config.get(path)) for config in configs.values()}) > 1
    ]
    return {
        name: {path: config.get(path) for path in differing} for name, config in configs.items()
    }


def _summary(
    run: RunRecord, attempts: list[Attempt], settings: dict[str, object], now: float
) -> RunSummary:
    records = _records(Path(run.out) / _METRICS_NAME)
    steps = [record for (event, _), record in records.items() if event == "step"]
    evals = [record for (event, _), record in records.items() if event == "eval"]
    train_curve, val_curve = _curve(steps, "loss"), _curve(evals, "val_loss")
    speeds = sorted(_numbers(steps, "tokens_per_s"))
    wall_s = sum(attempt.ended - attempt.started for attempt in attempts)
    if run.status in ACTIVE and run.started is not None:
        wall_s += now - run.started
    tokens, peaks = _numbers(steps, "tokens"), _numbers(steps, "peak_memory_bytes")
    return RunSummary(
        name=run.name,
        status=run.status,
        reason=run.reason,
        retries=run.retries,
        out=run.out,
        step=max((step for _, step in records), default=None),
        tokens=int(tokens[-1]) if tokens else None,
        train_loss=_last(steps, "loss"),
        val_loss=_last(evals, "val_loss"),
        best_val_loss=min((value for _, value in val_curve), default=None),
        val_bpb=_last(evals, "val_bpb"),
        tokens_per_s=speeds[len(speeds) // 2] if speeds else None,
        peak_memory_bytes=int(max(peaks)) if peaks else None,
        wall_s=wall_s,
        device_hours=wall_s / 3600,
        settings=settings,
        attempts=attempts,
        train_curve=train_curve,
        val_curve=val_curve,
    )


def _records(path: Path) -> dict[tuple[str, int], dict[str, object]]:
    """What a run logged, by event and step, in the order of steps; the last word on each counts."""
    found: dict[tuple[str, int], dict[str, object]] = {}
    for record in _lines(path):
        event, step = record.get("event"), record.get("step")
        if isinstance(event, str) and isinstance(step, int):
            found[event, step] = record
    return dict(sorted(found.items(), key=lambda item: item[0][1]))


def _lines(path: Path) -> Iterator[dict[str, object]]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:  # the last one, while it is being written
                    continue
                if isinstance(record, dict):
                    yield record
    except FileNotFoundError:
        return


def _value(record: Mapping[str, object], key: str) -> float | None:
    value = record.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _numbers(records: Iterable[Mapping[str, object]], key: str) -> list[float]:
    return [value for record in records if (value := _value(record, key)) is not None]


def _last(records: Sequence[Mapping[str, object]], key: str) -> float | None:
    return _value(records[-1], key) if records else None


def _curve(records: Iterable[Mapping[str, object]], key: str) -> Curve:
    return [
        (step, value)
        for record in records
        if isinstance(step := record.get("step"), int)
        and (value := _value(record, key)) is not None
    ]
