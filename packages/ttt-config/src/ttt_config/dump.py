"""A configuration as TOML text, and the differences between two."""

from typing import NamedTuple

import tomli_w

from ttt_config.fields import flatten, nest
from ttt_config.run import RunConfig


class Difference(NamedTuple):
    """One field that two configurations disagree on."""

    path: str
    a: object
    b: object


def dump(config: RunConfig) -> str:
    """The whole configuration as TOML; None is left out, since TOML has no such value."""
    given = {path: value for path, value in flatten(config).items() if value is not None}
    return tomli_w.dumps(nest(given))


def diff(a: RunConfig, b: RunConfig) -> list[Difference]:
    """The fields that differ, in the order of declaration."""
    others = flatten(b)
    return [
        Difference(path, value, others[path])
        for path, value in flatten(a).items()
        if value != others[path]
    ]
