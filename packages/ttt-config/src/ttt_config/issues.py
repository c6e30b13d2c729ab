"""The wording of configuration errors: what, where, expected versus got, what to do."""

import difflib
from collections.abc import Sequence

import msgspec

from ttt_config.errors import ConfigError, InvalidValueError, UnknownFieldError
from ttt_config.fields import Field, all_fields, all_sections
from ttt_config.layer import Layer
from ttt_config.run import RunConfig

_LONGEST_VALUE = 60


def unknown_key(layer: Layer, written: str, root: type[msgspec.Struct] = RunConfig) -> ConfigError:
    """The key `written` is no spelling of any field below the root."""
    path = _nearest_path(written.rpartition(".")[2], root)
    hint = f"did you mean `{path}`?" if path else _listing(root)
    newer = ", or a newer version of ttt wrote the file" if layer.lines and not path else ""
    return UnknownFieldError(f"unknown field {_located(layer, written)}; {hint}{newer}")


def unknown_table(layer: Layer, written: str, tables: Sequence[str]) -> ConfigError:
    """The key `written` at the top of a file is none of its tables."""
    near = difflib.get_close_matches(written, tables, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"expected one of {', '.join(tables)}"
    return UnknownFieldError(f"unknown table {_located(layer, written)}; {hint}")


def invalid_value(layer: Layer, written: str, expected: str, value: object) -> ConfigError:
    """The value of the key `written` is not what its field needs."""
    return InvalidValueError(f"{_located(layer, written)}: expected {expected}, got {shown(value)}")


def invalid_choice(layer: Layer, written: str, field: Field, value: object) -> ConfigError:
    """As `invalid_value`, for a field's value; names the choice that was perhaps meant."""
    near = difflib.get_close_matches(str(value).lower(), field.choices, n=1)
    error = invalid_value(layer, written, field.expected, value)
    return InvalidValueError(f"{error}; did you mean `{near[0]}`?") if near else error


def rejected_value(layer: Layer, written: str, reason: Exception) -> ConfigError:
    """The value of the key `written` was refused by its own parser."""
    return InvalidValueError(f"{_located(layer, written)}: {reason}")


def set_twice(layer: Layer, written: str, other: str, field: Field) -> ConfigError:
    """One layer sets one field by two spellings."""
    where = _located(layer, written)
    return InvalidValueError(f"{where} and `{other}` both set `{field.path}`; keep one of them")


def shown(value: object) -> str:
    """A user's value for a message: short, on one line, spelled as in TOML where that differs."""
    if isinstance(value, dict):
        return "a table"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return f"`{text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + '...'}`"


def _located(layer: Layer, written: str) -> str:
    line = layer.lines.get(written)
    name = written if written.isprintable() else repr(written)
    return f"`{name}` ({layer.source}{f', line {line}' if line else ''})"


def _listing(root: type[msgspec.Struct]) -> str:
    """Where to find, or what are, the fields below a root."""
    if root is RunConfig:
        return "`ttt config schema --format toml` lists them all"
    return f"expected one of {', '.join(field.path for field in all_fields(root))}"


def _nearest_path(key: str, root: type[msgspec.Struct]) -> str | None:
    """The path whose last part, or one of its other spellings, looks most like `key`."""
    paths = {path.rpartition(".")[2]: path for path in all_sections(root)}
    paths |= {key: field.path for field in all_fields(root) for key in field.keys}
    near = difflib.get_close_matches(key.lower(), paths, n=1)
    return paths[near[0]] if near else None
