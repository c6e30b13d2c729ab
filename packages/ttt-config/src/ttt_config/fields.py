"""The fields of a configuration as a flat list, read from its annotated Structs.

The root is `RunConfig` where none is named.

A field is found by any of its spellings: `max_seq_len`, `seq_len`, ... in its own table first,
and from anywhere else when only one field of the whole configuration is spelled that way.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from ttt_config.run import RunConfig

_KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "a list of strings",
}


class Field(NamedTuple):
    """One leaf of the configuration.

    Attributes:
        section: dotted path of its table, `model.inner`; empty for the root.
        name: its key in that table.
        doc: one line.
        flags: command-line spellings, the primary one first.
        keys: every accepted key, `name` first.
        annotation: what msgspec converts a value to.
        default: its value when nothing sets it; a preset may come before.
        normalize: maps accepted spellings to the canonical one.
        kind: the bare type.
        choices: the accepted values, if they can be listed.
        optional: whether None is a value.
        bounds: limits as text, `>= 1`; empty without any.
    """

    section: str
    name: str
    doc: str
    flags: tuple[str, ...]
    keys: tuple[str, ...]
    annotation: object
    default: object
    normalize: Callable[[str], str] | None
    kind: type
    choices: tuple[str, ...]
    optional: bool
    bounds: str

    @property
    def path(self) -> str:
        """Dotted path from the root, `model.inner.base_lr`."""
        return dotted(self.section, self.name)

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            text = f"one of {', '.join(self.choices)}"
        else:
            text = f"{_KINDS[self.kind]} {self.bounds}".rstrip()
        return f"{text} or none" if self.optional else text


class Reading(NamedTuple):
    """What an annotation says, gathered through its nesting."""

    kind: type
    choices: tuple[str, ...]
    optional: bool
    metas: tuple[msgspec.Meta, ...]


def dotted(section: str, name: str) -> str:
    """Join a section and a name; the root's section is empty."""
    return f"{section}.{name}" if section else name


@cache
def all_fields(root: type[msgspec.Struct] = RunConfig) -> tuple[Field, ...]:
    """Every field below the root, in the order of declaration."""
    return tuple(_walk(root, ""))


@cache
def all_sections(root: type[msgspec.Struct] = RunConfig) -> tuple[str, ...]:
    """Dotted paths of all tables below the root."""
    return tuple(dict.fromkeys(field.section for field in all_fields(root) if field.section))


def find_field(section: str, key: str, root: type[msgspec.Struct] = RunConfig) -> Field | None:
    """The field that `key`, written in `section`, means; None if there is none or several."""
    spelled = [field for field in all_fields(root) if key in field.keys]
    own = [field for field in spelled if field.section == section]
    found = own or spelled
    return found[0] if len(found) == 1 else None


def find_section(section: str, key: str, root: type[msgspec.Struct] = RunConfig) -> str | None:
    """The table that `key`, written in `section`, means; found as a field is."""
    if dotted(section, key) in all_sections(root):
        return dotted(section, key)
    found = [path for path in all_sections(root) if path.rpartition(".")[2] == key]
    return found[0] if len(found) == 1 else None


def flatten(config: msgspec.Struct) -> dict[str, object]:
    """The values of a configuration by dotted path, in the order of declaration."""
    flat: dict[str, object] = {}

    def visit(struct: msgspec.Struct, section: str) -> None:
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if isinstance(value, msgspec.Struct):
                visit(value, dotted(section, name))
            else:
                flat[dotted(section, name)] = value

    visit(config, "")
    return flat


def flatten_tables(tables: Mapping[str, object], section: str = "") -> dict[str, object]:
    """The values of tables of tables by dotted path, in their order."""
    flat: dict[str, object] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            flat |= flatten_tables(value, dotted(section, key))
        else:
            flat[dotted(section, key)] = value
    return flat


def nest(flat: Mapping[str, object]) -> dict[str, object]:
    """The inverse of `flatten`, as tables of tables."""
    root: dict[str, object] = {}
    for path, value in flat.items():
        *sections, name = path.split(".")
        table = root
        for section in sections:
            below = table.setdefault(section, {})
            if not isinstance(below, dict):
                raise TypeError(f"`{path}` runs through a value")
            table = below
        table[name] = value
    return root


def _walk(struct: type[msgspec.Struct], section: str) -> Iterator[Field]:
    for info in msgspec.structs.fields(struct):
        if isinstance(info.type, type) and issubclass(info.type, msgspec.Struct):
            yield from _walk(info.type, dotted(section, info.name))
        else:
            yield _field(info, section)


def _field(info: msgspec.structs.FieldInfo, section: str) -> Field:
    read = _read(info.type)
    extra = {key: value for meta in read.metas for key, value in (meta.extra or {}).items()}
    flags = extra["flags"] or (f"--{info.name.replace('_', '-')}",)
    spelled = [flag.removeprefix("--").replace("-", "_") for flag in flags]
    return Field(
        section=section,
        name=info.name,
        doc=next(meta.description for meta in read.metas if meta.description),
        flags=flags,
        keys=tuple(dict.fromkeys([info.name, *spelled, *extra["keys"]])),
        annotation=info.type,
        default=info.default,
        normalize=extra["normalize"],
        kind=read.kind,
        choices=read.choices,
        optional=read.optional,
        bounds=_bounds(read.metas),
    )


def _read(annotation: object) -> Reading:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = _read(args[0])
        own = tuple(meta for meta in args[1:] if isinstance(meta, msgspec.Meta))
        return inner._replace(metas=(*inner.metas, *own))
    if origin in {Union, types.UnionType}:
        inner = _read(next(arg for arg in args if arg is not types.NoneType))
        return inner._replace(optional=True)
    if origin is Literal:
        return Reading(str, args, optional=False, metas=())
    if annotation == tuple[str, ...]:
        return Reading(tuple, (), optional=False, metas=())
    if isinstance(annotation, type):
        return Reading(annotation, (), optional=False, metas=())
    raise TypeError(f"a configuration field cannot be a {annotation}")


def _bounds(metas: tuple[msgspec.Meta, ...]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f"{sign} {getattr(meta, name)}"
        for meta in metas
        for name, sign in signs.items()
        if getattr(meta, name) is not None
    ]
    return ", ".join(limits)
