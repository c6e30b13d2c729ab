"""Where values come from: a TOML file, a flag, a `--set name=value`; each is one layer."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ttt_config.errors import ConfigError, InvalidValueError
from ttt_config.fields import Field, find_field, find_section, nest

_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_ELEMENT = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")


class Layer(NamedTuple):
    """Values from one source.

    Attributes:
        source: where they come from, `file demo.toml` or `--lr`.
        values: nested tables, keys as the user wrote them.
        lines: line numbers by dotted key, for a source that has lines.
    """

    source: str
    values: Mapping[str, object]
    lines: Mapping[str, int] = {}

    def table(self, path: str, values: Mapping[str, object]) -> "Layer":
        """The layer of one of its tables, with the line numbers in it.

        Args:
            path: dotted, `runs.0` for the first of an array.
            values: what the table holds.
        """
        below = f"{path}."
        lines = {
            key.removeprefix(below): line
            for key, line in self.lines.items()
            if key.startswith(below)
        }
        return Layer(self.source, values, lines)


def file_layer(path: str | Path) -> Layer:
    """Read a TOML file, or the `config.toml` of a run directory.

    Raises:
        ConfigError: the file cannot be read or is no TOML.
    """
    path = Path(path)
    if path.is_dir():
        path /= "config.toml"
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    return Layer(f"file {path}", values, _key_lines(text))


def text_layer(source: str, name: str, text: str) -> Layer:
    """One value given as text, for example by a flag; `name` is a field's name, path or alias."""
    *sections, key = name.split(".")
    section: str | None = ""
    for part in sections:
        section = None if section is None else find_section(section, part)
    field = None if section is None else find_field(section, key)
    return Layer(source, nest({name: text if field is None else _typed(field, text)}))


def assignment_layer(text: str) -> Layer:
    """The layer of a command-line `--set name=value`.

    Raises:
        InvalidValueError: the text has no name or no `=`.
    """
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise InvalidValueError(f"--set expects name=value as in train.lr=0.001, got `{text}`")
    return text_layer("--set", name.strip(), value.strip())


def _typed(field: Field, text: str) -> object:
    """The text as the field's type; as it is when it is not, for `resolve` to complain about."""
    if field.kind is str:
        return text
    if field.optional and text.lower() == "none":
        return None
    try:
        return msgspec.convert(text, field.kind, strict=False)
    except msgspec.ValidationError:
        return text


def _key_lines(text: str) -> dict[str, int]:
    """Line number of each key; a line inside a multi-line string may be taken for a key.

    Elements of an array of tables are counted: `runs.0.lr` is a key of the first `[[runs]]`.
    """
    lines: dict[str, int] = {}
    elements: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if element := _ELEMENT.match(line):
            elements[element[1]] = elements.get(element[1], -1) + 1
            prefix = f"{element[1]}.{elements[element[1]]}."
            lines[prefix.removesuffix(".")] = number
        elif table := _TABLE.match(line):
            first, dot, rest = table[1].partition(".")
            inside = f"{first}.{elements[first]}" if first in elements else first
            prefix = f"{inside}{dot}{rest}."
            lines.setdefault(prefix.removesuffix("."), number)
        elif key := _KEY.match(line):
            lines.setdefault(prefix + key[1], number)
    return lines
