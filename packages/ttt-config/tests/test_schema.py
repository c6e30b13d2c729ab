import tomllib

from ttt_config import RunConfig, resolve, schema
from ttt_config.fields import all_fields, flatten
from ttt_config.schema import annotated_toml, markdown_table, toml_template


def test_template_is_toml_of_the_defaults_with_every_field() -> None:
    text = toml_template()
    assert resolve(("template", tomllib.loads(text))).config == RunConfig()
    assert all(f"\n{field.name} = " in text.replace("\n# ", "\n") for field in all_fields())
    assert all(f"# {field.doc} (" in text for field in all_fields())


def test_annotated_toml_reads_back_and_aligns_its_comments() -> None:
    config, provenance = resolve(("--size", {"size": "60m"}))
    text = annotated_toml(flatten(config), provenance)
    assert resolve(("annotated", tomllib.loads(text))).config == config
    rows = [line for line in text.splitlines() if "  # " in line]
    assert len(rows) == len(all_fields())
    assert len({row.rindex("  # ") for row in rows}) == 1
    assert "hidden_size = 512" in text
    assert "# size 60m\n" in text


def test_table_has_one_row_per_field_and_no_stray_column() -> None:
    head, rule, *rows = markdown_table().splitlines()
    assert [row.split("`")[1] for row in rows] == [field.path for field in all_fields()]
    assert {row.count("|") for row in (head, rule, *rows)} == {6}


def test_json_schema_has_bounds_choices_and_meanings() -> None:
    definitions = schema()["$defs"]
    assert isinstance(definitions, dict)
    train = definitions["TrainConfig"]["properties"]
    assert train["lr"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "peak learning rate",
        "default": 0.003,
    }
    assert definitions["TrainConfig"]["additionalProperties"] is False
    assert "125m-h32" in definitions["ModelConfig"]["properties"]["size"]["enum"]


def test_every_field_has_one_line_of_documentation() -> None:
    for field in all_fields():
        assert field.doc
        assert "\n" not in field.doc
        assert len(field.doc) < 90
