"""Layers in, one checked configuration out, with the source of every value.

Priority rises from the defaults over the layers in the order given. A preset (`size`, `backbone`)
has the priority of the layer that names it, below what that layer gives explicitly. The problems of
all layers are collected and raised together.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from ttt_config import issues
from ttt_config.errors import ConfigError, IncompatibleError
from ttt_config.fields import Field, all_fields, dotted, find_field, find_section, nest
from ttt_config.layer import Layer, file_layer
from ttt_config.model import BACKBONES, SIZES, Backbone, ModelConfig, Size
from ttt_config.run import RunConfig

Config = TypeVar("Config", bound=msgspec.Struct)


class Resolved(NamedTuple, Generic[Config]):
    """A configuration and, by dotted path, the label of the layer each value comes from."""

    config: Config
    provenance: dict[str, str]


class Entry(NamedTuple):
    """One value of a layer and the field it sets; `written` is the user's dotted spelling."""

    field: Field
    written: str
    value: object


def load(path: str | Path) -> RunConfig:
    """The configuration in a TOML file or a run directory, over the defaults.

    Raises:
        ConfigError: the file cannot be read, or as `resolve`.
    """
    return resolve(file_layer(path)).config


def preset(size: str, **overrides: object) -> ModelConfig:
    """The model of a size, with some fields given explicitly; checked, as from a file.

    Args:
        size: a name of `SIZES`.
        overrides: further fields by name; `inner` as an `InnerConfig` or a table.

    Raises:
        ConfigError: as `resolve`.
    """
    given = {"size": size, **msgspec.to_builtins(overrides)}
    return resolve(("preset", {"model": given})).config.model


def resolve(*layers: Layer | tuple[str, Mapping[str, object]]) -> Resolved[RunConfig]:
    """Merge layers of rising priority into the checked configuration of a run.

    Args and errors are those of `resolve_as`.
    """
    return resolve_as(RunConfig, *layers)


def resolve_as(
    root: type[Config], *layers: Layer | tuple[str, Mapping[str, object]]
) -> Resolved[Config]:
    """Merge layers of rising priority into a checked configuration.

    Args:
        root: the Struct whose fields the layers set.
        layers: `(source, nested tables)` each; a later one wins.

    Raises:
        UnknownFieldError: a key names no field.
        InvalidValueError: a value has the wrong type or is out of range, or one layer sets a field
            by two spellings.
        IncompatibleError: values contradict each other.
        ConfigError: several of these; `issues` has them one by one.
    """
    values: dict[str, object] = {}
    provenance = {field.path: "default" for field in all_fields(root)}
    problems: list[ConfigError] = []
    for pair in layers:
        layer = pair if isinstance(pair, Layer) else Layer(*pair)
        given, wrong = _read(layer, root)
        for label, preset in _presets(given):
            values |= preset
            provenance |= dict.fromkeys(preset, label)
        values |= given
        provenance |= dict.fromkeys(given, layer.source)
        problems += wrong
    if problems:
        raise ConfigError.combine(problems)
    return Resolved(_build(values, root), provenance)


def _read(layer: Layer, root: type[msgspec.Struct]) -> tuple[dict[str, object], list[ConfigError]]:
    """The layer's checked values by path, and what is wrong with the others."""
    values: dict[str, object] = {}
    spelled: dict[str, str] = {}
    problems: list[ConfigError] = []
    for entry in _entries(layer, root, layer.values, "", ""):
        if isinstance(entry, ConfigError):
            problems.append(entry)
        elif entry.field.path in spelled:
            other = spelled[entry.field.path]
            problems.append(issues.set_twice(layer, entry.written, other, entry.field))
        else:
            spelled[entry.field.path] = entry.written
            try:
                values[entry.field.path] = _checked(entry, layer)
            except ConfigError as problem:
                problems.append(problem)
    return values, problems


def _entries(
    layer: Layer,
    root: type[msgspec.Struct],
    table: Mapping[str, object],
    section: str,
    prefix: str,
) -> Iterator[Entry | ConfigError]:
    """Find the field of every leaf; `section` is the path of the table the user wrote `prefix`."""
    for key, value in table.items():
        written = dotted(prefix, key)
        field, below = find_field(section, key, root), find_section(section, key, root)
        if isinstance(value, Mapping) and below is not None:
            yield from _entries(layer, root, value, below, written)
        elif field is not None:
            yield Entry(field, written, value)
        elif below is not None:
            yield issues.invalid_value(layer, written, "a table", value)
        else:
            yield issues.unknown_key(layer, written, root)


def _checked(entry: Entry, layer: Layer) -> object:
    """The value in its field's type and canonical spelling."""
    field, written, value = entry
    if field.normalize is not None and isinstance(value, str):
        try:
            value = field.normalize(value)
        except ValueError as reason:
            raise issues.rejected_value(layer, written, reason) from reason
    try:
        converted = msgspec.convert(value, field.annotation)
    except msgspec.ValidationError as reason:
        raise issues.invalid_choice(layer, written, field, entry.value) from reason
    if isinstance(converted, float) and not math.isfinite(converted):
        raise issues.invalid_value(layer, written, field.expected, entry.value)
    return converted


def _presets(values: Mapping[str, object]) -> Iterator[tuple[str, dict[str, object]]]:
    """What the size and backbone of a layer stand for, with the label of each."""
    if "model.size" in values:
        size = msgspec.convert(values["model.size"], Size)
        shape = SIZES[size]._asdict()
        yield f"size {size}", {f"model.{name}": value for name, value in shape.items()}
    if "model.backbone" in values:
        backbone = msgspec.convert(values["model.backbone"], Backbone)
        parts = BACKBONES[backbone]
        yield f"backbone {backbone}", {f"model.{name}": value for name, value in parts.items()}


def _build(values: Mapping[str, object], root: type[Config]) -> Config:
    """Values checked one by one, now together."""
    try:
        return msgspec.convert(nest(values), root)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise IncompatibleError(f"`{path.removesuffix('`')}`: {reason}") from error
