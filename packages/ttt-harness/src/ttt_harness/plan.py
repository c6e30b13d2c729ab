"""A harness file as the list of runs it asks for, each with its whole, checked configuration."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ttt_config import (
    ConfigError,
    HarnessConfig,
    IncompatibleError,
    InvalidValueError,
    RunConfig,
    resolve,
)
from ttt_config.fields import all_fields
from ttt_config.harness import EntryConfig, SweepConfig
from ttt_config.ignored import IGNORED
from ttt_config.issues import unknown_table
from ttt_config.layer import Layer, file_layer
from ttt_config.resolve import resolve_as
from ttt_harness.sweep import expand

_TABLES = ("harness", "defaults", "runs", "sweep")
_IGNORED_BY_HARNESS = {"rust_log": "the trainer logs to its run directory"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_OWN = {key for struct in (EntryConfig, SweepConfig) for f in all_fields(struct) for key in f.keys}

_Made = TypeVar("_Made")


class Run(NamedTuple):
    """One training run that is asked for."""

    entry: EntryConfig
    config: RunConfig
    """Whole; `config.out` is its directory."""

    @property
    def name(self) -> str:
        """What it is called, unique in its plan."""
        return self.entry.name


class Plan(NamedTuple):
    """What a harness file asks for."""

    settings: HarnessConfig
    runs: tuple[Run, ...]
    """In the order of the file, sweeps behind runs."""
    notes: tuple[str, ...] = ()
    """What was accepted and has no effect."""


class _Table(NamedTuple):
    """One run as it is written: what is its own, and what is under it."""

    where: str
    layers: tuple[Layer, ...]


def load_plan(path: str | Path) -> Plan:
    """Read a harness file.

    Raises:
        ConfigError: the file cannot be read; a key is unknown; a value is wrong; two runs share a
            name or a directory; `after` names no run, or goes in a circle. All problems are
            collected first.
    """
    file = file_layer(path)
    problems: list[ConfigError] = [
        unknown_table(file, key, _TABLES) for key in file.values if key not in _TABLES
    ]
    notes: list[str] = []
    settings = _attempt(problems, lambda: _settings(file, notes))
    defaults = file.table("defaults", _without_ignored(_table(file, "defaults"), IGNORED, notes))
    runs = [
        run
        for table in _tables(file, defaults, notes, problems)
        if (run := _attempt(problems, lambda table=table: _run(table))) is not None
    ]
    if not problems and not runs:
        problems.append(ConfigError(f"{path}: no run in it; write [[runs]] or [[sweep]] tables"))
    problems += _conflicts(runs)
    if problems or settings is None:
        # What is wrong in [defaults] or a sweep is wrong in each of its runs: once is enough.
        raise ConfigError.combine(list({str(each): each for each in problems}.values()))
    return Plan(settings, tuple(runs), tuple(dict.fromkeys(notes)))


def _settings(file: Layer, notes: list[str]) -> HarnessConfig:
    values = _without_ignored(_table(file, "harness"), _IGNORED_BY_HARNESS, notes)
    return resolve_as(HarnessConfig, file.table("harness", values)).config


def _tables(
    file: Layer, defaults: Layer, notes: list[str], problems: list[ConfigError]
) -> Iterator[_Table]:
    """Every run of the file, those of sweeps written out."""
    for kind in ("runs", "sweep"):
        for number, table in enumerate(_array(file, kind, problems)):
            own = file.table(f"{kind}.{number}", _without_ignored(table, IGNORED, notes))
            line = file.lines.get(f"{kind}.{number}")
            where = f"[[{kind}]] ({file.source}{f', line {line}' if line else ''})"
            if kind == "runs":
                yield _Table(where, (defaults, own))
            else:
                points = _attempt(problems, lambda own=own, where=where: _points(own, where))
                for layer in points or ():
                    yield _Table(where, (defaults, layer))


def _points(sweep: Layer, where: str) -> list[Layer]:
    own = {field.name for field in all_fields(SweepConfig)}
    settings = {key: value for key, value in sweep.values.items() if key in own}
    rest = {key: value for key, value in sweep.values.items() if key not in own}
    mode = resolve_as(SweepConfig, sweep._replace(values=settings)).config.mode
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise InvalidValueError(f"{where}: `name` is missing or no string")
    return [
        sweep._replace(values={**point.values, "name": point.name})
        for point in expand(name, rest, mode, where)
    ]


def _run(table: _Table) -> Run:
    """Check one run; what its table says wins over the defaults."""
    own, fields = zip(*(_split(layer) for layer in table.layers), strict=True)
    if "name" not in own[-1].values:
        raise InvalidValueError(f'{table.where}: `name` is missing; write name = "first"')
    entry = resolve_as(EntryConfig, *own).config
    if not _NAME.fullmatch(entry.name):
        raise InvalidValueError(
            f"{table.where}: `name` expected letters, digits and any of . _ + -, got {entry.name!r}"
        )
    out = Layer("out_prefix", {"out": f"{entry.out_prefix}/{entry.name}"})
    try:
        return Run(entry, resolve(out, *fields).config)
    except IncompatibleError as error:
        raise IncompatibleError(f"run `{entry.name}`: {error}") from error


def _split(layer: Layer) -> tuple[Layer, Layer]:
    """What of a table is the harness's, and what is the trainer's."""
    own = {key: value for key, value in layer.values.items() if key in _OWN}
    rest = {key: value for key, value in layer.values.items() if key not in _OWN}
    return layer._replace(values=own), layer._replace(values=rest)


def _conflicts(runs: Sequence[Run]) -> Iterator[ConfigError]:
    """What is wrong with runs that are fine alone."""
    names: dict[str, Run] = {}
    directories: dict[Path, Run] = {}
    for run in runs:
        if names.setdefault(run.name, run) is not run:
            yield IncompatibleError(f"two runs are called `{run.name}`; give each its own name")
        other = directories.setdefault(Path(run.config.out).absolute(), run)
        if other is not run:
            yield IncompatibleError(
                f"runs `{other.name}` and `{run.name}` write the same directory "
                f"`{run.config.out}`; give each its own `out`"
            )
    after = {run.name: run.entry.after for run in runs}
    for name, needed in after.items():
        for other in needed:
            if other not in after:
                yield IncompatibleError(f"run `{name}`: `after` names `{other}`, which is no run")
    circle = _circle(after)
    if circle:
        yield IncompatibleError(f"`after` goes in a circle: {' -> '.join(circle)}")


def _circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """The runs that wait for themselves, in order; none if there is no circle."""
    done: set[str] = set()
    for first in after:
        path: list[str] = [first]
        pending = [iter(after[first])]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
                done.add(path.pop())
            elif step in path:
                return [*path[path.index(step) :], step]
            elif step not in done and step in after:
                path.append(step)
                pending.append(iter(after[step]))
    return []


def _table(file: Layer, key: str) -> Mapping[str, object]:
    value = file.values.get(key, {})
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"`{key}` ({file.source}): expected a table [{key}]")
    return value


def _array(file: Layer, key: str, problems: list[ConfigError]) -> list[Mapping[str, object]]:
    value = file.values.get(key, [])
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return value
    problems.append(InvalidValueError(f"`{key}` ({file.source}): expected tables [[{key}]]"))
    return []


def _without_ignored(
    table: Mapping[str, object], ignored: Mapping[str, str], notes: list[str]
) -> dict[str, object]:
    notes += [f"{key} has no effect: {ignored[key]}" for key in table if key in ignored]
    return {key: value for key, value in table.items() if key not in ignored}


def _attempt(problems: list[ConfigError], make: Callable[[], _Made]) -> _Made | None:
    """What `make` gives; None, and the problem noted, if it raises."""
    try:
        return make()
    except ConfigError as error:
        problems += error.issues
        return None
