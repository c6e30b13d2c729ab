"""A `[[sweep]]` table as the runs it stands for: every list in it is an axis."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Literal, NamedTuple

from ttt_config import InvalidValueError
from ttt_config.fields import flatten_tables, nest

NOT_AXES = ("after",)
"""Keys whose value is a list in itself."""

_UNFIT = re.compile(r"[^A-Za-z0-9._+-]+")


class Point(NamedTuple):
    """One run of a sweep: its name and the table it would be as `[[runs]]`."""

    name: str
    values: dict[str, object]


def expand(
    name: str, table: Mapping[str, object], mode: Literal["grid", "list"], where: str
) -> list[Point]:
    """Make the runs of a sweep.

    Args:
        name: of the sweep; `{lr}` in it stands for the value of that axis. Without braces the
            runs are called `name-lr0.001-seed1`.
        table: fields of a run, in any spelling and nesting; a list is one value after the other.
        mode: grid: every combination, the last axis fastest; list: the lists side by side.
        where: of the table, for messages.

    Raises:
        InvalidValueError: there is no list, one is empty, they differ in length under `list`, or
            the name refers to no axis or does not tell the runs apart.
    """
    flat = flatten_tables(table)
    axes = {
        key: value for key, value in flat.items() if isinstance(value, list) and key not in NOT_AXES
    }
    if not axes:
        raise InvalidValueError(f"{where}: no list of values to sweep, as in lr = [0.001, 0.003]")
    for key, values in axes.items():
        if not values:
            raise InvalidValueError(f"{where}: the list `{key}` is empty")
    points = [
        Point(_name(name, chosen, where), nest({**flat, **chosen}))
        for chosen in _choices(axes, mode, where)
    ]
    names = [point.name for point in points]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise InvalidValueError(f"{where}: several runs are called `{twice}`; name every list")
    return points


def _choices(
    axes: Mapping[str, list[object]], mode: Literal["grid", "list"], where: str
) -> Iterator[dict[str, object]]:
    lengths = {len(values) for values in axes.values()}
    if mode == "list" and len(lengths) > 1:
        told = ", ".join(f"`{key}` has {len(values)}" for key, values in axes.items())
        raise InvalidValueError(f"{where}: lists side by side need one length, but {told}")
    rows = zip(*axes.values(), strict=True) if mode == "list" else product(*axes.values())
    for row in rows:
        yield dict(zip(axes, row, strict=True))


def _name(template: str, chosen: Mapping[str, object], where: str) -> str:
    short = {key.rpartition(".")[2]: value for key, value in chosen.items()}
    if "{" not in template:
        template += "".join(f"-{key}{{{key}}}" for key in short)
    unknown = [key for key in re.findall(r"{([^}]*)}", template) if key not in short]
    if unknown:
        raise InvalidValueError(
            f"{where}: the name has {{{unknown[0]}}}, the lists are {', '.join(short)}"
        )
    filled = re.sub(r"{([^}]*)}", lambda match: str(short[match[1]]), template)
    return _UNFIT.sub("-", filled).strip("-")
