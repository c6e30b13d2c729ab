"""Documents written from the fields: JSON schema, TOML with comments, markdown table."""

from collections.abc import Mapping

import msgspec
import tomli_w

from ttt_config.fields import Field, all_fields
from ttt_config.run import RunConfig


def schema() -> dict[str, object]:
    """The JSON schema of a configuration file written in canonical names."""
    return msgspec.json.schema(RunConfig)


def toml_template() -> str:
    """A TOML file of all defaults, each under its description and accepted values."""
    lines: list[str] = []
    for section, fields in _tables():
        lines += ["", f"[{section}]"] if section else []
        for field in fields:
            lines += [f"# {field.doc} ({field.expected})", _assignment(field, field.default)]
    return "\n".join(lines) + "\n"


def annotated_toml(values: Mapping[str, object], comments: Mapping[str, str]) -> str:
    """All values as TOML, with an aligned comment behind each; both by dotted path."""
    rows: list[tuple[str, str]] = []
    for section, fields in _tables():
        rows += [("", ""), (f"[{section}]", "")] if section else []
        rows += [(_assignment(field, values[field.path]), comments[field.path]) for field in fields]
    width = max(len(code) for code, comment in rows if comment)
    return "".join(
        f"{code:{width}}  # {comment}\n" if comment else f"{code}\n" for code, comment in rows
    )


def keys_table(root: type[msgspec.Struct]) -> str:
    """The reference table of fields without flags: key, default, values, meaning."""
    rows = [
        (f"`{field.path}`", _default(field), field.expected, field.doc)
        for field in all_fields(root)
    ]
    head = [("key", "default", "values", "meaning"), ("---",) * 4]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*head, *rows])


def markdown_table() -> str:
    """The reference table of every field: name, flags, default, values, meaning."""
    rows = [
        (
            f"`{field.path}`",
            " ".join(f"`{flag}`" for flag in field.flags),
            f"`{toml_value(field.default)}`",
            field.expected,
            field.doc,
        )
        for field in all_fields()
    ]
    head = [("field", "flags", "default", "values", "meaning"), ("---",) * 5]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [*head, *rows])


def toml_value(value: object) -> str:
    """One value as it is written in TOML; None, which TOML lacks, as `none`."""
    if value is None:
        return "none"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _assignment(field: Field, value: object) -> str:
    absent = "# " if value is None else ""
    return f"{absent}{field.name} = {toml_value(value)}"


def _default(field: Field) -> str:
    return "" if field.default is msgspec.NODEFAULT else f"`{toml_value(field.default)}`"


def _tables() -> list[tuple[str, list[Field]]]:
    """Fields by section, the root first as TOML wants it."""
    sections = dict.fromkeys(["", *(field.section for field in all_fields())])
    return [
        (section, [field for field in all_fields() if field.section == section])
        for section in sections
    ]
