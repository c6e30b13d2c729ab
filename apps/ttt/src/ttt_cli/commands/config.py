"""`ttt config`: look at configurations without running anything."""

import json
from typing import Annotated, Literal

import typer

from ttt_cli.app import new_app
from ttt_cli.options import Common, Layers, common_options, config_options
from ttt_config import diff, load, resolve, schema
from ttt_config.fields import flatten, nest
from ttt_config.schema import annotated_toml, markdown_table, toml_template, toml_value

app = new_app("Show, describe and compare configurations.")

TomlFile = Annotated[str, typer.Argument(help="A TOML file or a run directory.")]


@app.command()
@common_options
@config_options
def show(layers: Layers, common: Common) -> None:
    """Print the configuration that these options give, and where each value comes from."""
    config, provenance = resolve(*layers)
    if common.json:
        _print_json({"config": nest(flatten(config)), "provenance": provenance})
    else:
        print(annotated_toml(flatten(config), provenance), end="")


@app.command("schema")
@common_options
def describe(
    common: Common,
    form: Annotated[
        Literal["json", "toml", "markdown"],
        typer.Option("--format", help="A JSON schema, a commented template, or a table."),
    ] = "json",
) -> None:
    """Print every field with its type, default and meaning."""
    if common.json or form == "json":
        _print_json(schema())
    else:
        print(toml_template() if form == "toml" else markdown_table(), end="")


@app.command("diff")
@common_options
def compare(a: TomlFile, b: TomlFile, common: Common) -> None:
    """Print the fields that two configurations disagree on."""
    differences = diff(load(a), load(b))
    if common.json:
        _print_json([difference._asdict() for difference in differences])
        return
    width = max((len(difference.path) for difference in differences), default=0)
    for path, left, right in differences:
        print(f"{path:{width}}  {toml_value(left)} -> {toml_value(right)}")
    if not differences:
        print("no difference")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
