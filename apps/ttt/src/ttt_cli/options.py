"""Command-line options that a command does not write down itself.

`config_options` makes one option of every configuration field: its names, its help, its default and
choices are those of the field. The command gets what was given as layers for `resolve`.
`common_options` adds the options that every command has.

    app = new_app()

    @app.command()
    @common_options
    @config_options
    def train(layers: Layers, common: Common, dry_run: bool = False) -> None:
        config, provenance = resolve(*layers)

An option left out adds no layer, so it cannot hide a value of the file or of a preset.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import typer

from ttt_config.fields import Field, all_fields, nest
from ttt_config.ignored import IGNORED
from ttt_config.layer import Layer, assignment_layer, file_layer, text_layer
from ttt_config.schema import toml_value

Layers = tuple[Layer, ...]
"""The file, the flags and the `--set`s of a command line, in rising priority."""

_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT"}

_IGNORED: dict[str, tuple[object, str]] = {
    "workers": (int | None, "--workers"),
    "threads": (int | None, "--threads"),
    "pretokenized": (bool | None, "--pretokenized/--no-pretokenized"),
}
"""Name, type and spelling; `ttt_config.ignored` says why each is not needed."""


class Common(NamedTuple):
    """What every command can be asked for; `--debug` is served by `ttt_cli.main`."""

    json: bool
    quiet: bool


def config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option per field, `--config` and `--set`, as its argument `layers`."""
    options = [
        parameter(
            "config",
            str | None,
            None,
            "--config",
            metavar="FILE",
            help="Read a TOML file, or that of a run directory; options win over it.",
        ),
        parameter(
            "assignments",
            list[str] | None,
            None,
            "--set",
            metavar="NAME=VALUE",
            help="Set any field by its dotted name; can be repeated.",
        ),
        *(_field_parameter(field) for field in all_fields()),
    ]
    return absorb(command, "layers", options, _layers)


def common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--json`, `--quiet` and `--debug`, as its argument `common`."""
    options = [
        parameter("json", bool, False, "--json", help="Print JSON, for programs."),
        parameter("quiet", bool, False, "--quiet", help="Print no progress."),
        parameter("debug", bool, False, "--debug", help="Show the traceback of an error."),
    ]
    return absorb(command, "common", options, _common)


def ignored_options(command: Callable[..., None]) -> Callable[..., None]:
    """Accept the options of ttt-rs that mean nothing here, as its argument `notes`, which says so.

    Scripts written for it go on working; none of these changes what is computed.
    """
    options = [
        parameter(name, kind, None, flag, help=IGNORED[name], hidden=True)
        for name, (kind, flag) in _IGNORED.items()
    ]
    return absorb(command, "notes", options, _notes)


def absorb(
    command: Callable[..., None],
    name: str,
    options: Sequence[inspect.Parameter],
    collect: Callable[[Mapping[str, object]], object],
) -> Callable[..., None]:
    """Replace the command's argument `name` by options, from which `collect` makes it."""
    signature = inspect.signature(command)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name != name]
    parameters = [*kept, *options]

    @functools.wraps(command)
    def absorbing(**given: object) -> None:
        taken = {option.name: given.pop(option.name) for option in options}
        command(**given, **{name: collect(taken)})

    # typer reads both: the signature for names and defaults, the annotations for types.
    vars(absorbing)["__signature__"] = signature.replace(parameters=parameters)
    absorbing.__annotations__ = {each.name: each.annotation for each in parameters}
    return absorbing


def _layers(given: Mapping[str, object]) -> Layers:
    """The given options as layers, in rising priority."""
    layers: list[Layer] = []
    if isinstance(path := given["config"], str):
        layers.append(file_layer(path))
    for field in all_fields():
        value = given[_name(field)]
        if isinstance(value, str):
            layers.append(text_layer(field.flags[0], field.path, value))
        elif value is not None:
            layers.append(Layer(field.flags[0], nest({field.path: value})))
    if isinstance(assignments := given["assignments"], list):
        layers += [assignment_layer(text) for text in assignments]
    return tuple(layers)


def _notes(given: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(
        f"{flag.split('/')[0]} has no effect: {IGNORED[name]}"
        for name, (_, flag) in _IGNORED.items()
        if given[name] is not None
    )


def _common(given: Mapping[str, object]) -> Common:
    return Common(json=bool(given["json"]), quiet=bool(given["quiet"]))


def _field_parameter(field: Field) -> inspect.Parameter:
    """The option of a field: text, so that `resolve` judges all values in the same words."""
    default = toml_value(field.default).strip('"')
    help_text = f"{field.doc}  [default: {default}]"
    if field.kind is bool:
        flags = [f"{flag}/--no-{flag.removeprefix('--')}" for flag in field.flags]
        return parameter(_name(field), bool | None, None, *flags, help=help_text)
    return parameter(
        _name(field),
        str | None,
        None,
        *field.flags,
        metavar="|".join(field.choices) or _METAVARS[field.kind],
        choices=field.choices,
        help=help_text,
    )


def _name(field: Field) -> str:
    return field.path.replace(".", "_")


def parameter(
    name: str,
    annotation: object,
    default: object,
    *flags: str,
    help: str,
    metavar: str | None = None,
    choices: Sequence[str] = (),
    hidden: bool = False,
) -> inspect.Parameter:
    """An option of a command, for `absorb`."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=typer.Option(
            default,
            *flags,
            help=help,
            metavar=metavar,
            show_default=False,
            hidden=hidden,
            autocompletion=complete if choices else None,
        ),
        annotation=annotation,
    )
