import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config import RunConfig, resolve
from ttt_config.fields import Field, all_fields, nest

OTHER_VALUES = {
    "size": "60m",
    "backbone": "mamba",
    "num_heads": "8",
    "layer_type": "mlp",
    "pos_encoding": "none",
}


def other_value(field: Field) -> str:
    """Text of a value that is not the default."""
    texts = {int: "64", float: "0.25", str: "elsewhere"}
    others = [choice for choice in field.choices if choice != field.default]
    return OTHER_VALUES.get(field.name) or (others[0] if others else texts[field.kind])


def shown(ttt: Callable, *args: str) -> tuple[RunConfig, dict[str, str]]:
    code, out, err = ttt("config", "show", "--json", *args)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    return resolve(("shown", answer["config"])).config, answer["provenance"]


def test_every_flag_of_every_field_sets_it(ttt: Callable) -> None:
    spellings = max(len(field.flags) for field in all_fields())
    for spelling in range(spellings):
        args: list[str] = []
        values: dict[str, object] = {}
        for field in all_fields():
            flag = field.flags[min(spelling, len(field.flags) - 1)]
            if field.kind is bool:
                args.append(f"--no-{flag.removeprefix('--')}" if field.default else flag)
                values[field.path] = not field.default
            else:
                args += [flag, other_value(field)]
                values[field.path] = field.kind(other_value(field))
        config, provenance = shown(ttt, *args)
        assert config == resolve(("test", nest(values))).config
        assert provenance == {field.path: field.flags[0] for field in all_fields()}


def test_help_shows_names_meaning_default_and_choices(ttt: Callable) -> None:
    out = " ".join(ttt("config", "show", "--help").out.split())
    for field in all_fields():
        assert f"{', '.join(field.flags)} " in out
    assert "--lr FLOAT peak learning rate [default: 0.003]" in out
    assert "--dtype f32|bf16|f16 " in out
    assert "--use-gate / --no-use-gate " in out
    assert "--json" in out


def test_option_left_out_hides_neither_file_nor_preset(ttt: Callable, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("use_gate = true\nlr = 0.5\n[train]\nsteps = 9\nseed = 1\n")
    config, provenance = shown(
        ttt, "--config", str(file), "--size", "60m", "--steps", "8", "--seed=2", "--set", "seed=3"
    )
    expected = resolve(
        ("test", {"use_gate": True, "lr": 0.5, "size": "60m", "steps": 8, "seed": 3})
    ).config
    assert config == expected
    labels = {
        "model.use_gate": f"file {file}",
        "model.hidden_size": "size 60m",
        "train.steps": "--steps",
        "train.seed": "--set",
        "train.beta1": "default",
    }
    assert {path: provenance[path] for path in labels} == labels


def test_set_can_be_repeated_and_the_last_wins(ttt: Callable) -> None:
    config, _ = shown(ttt, "--set", "train.lr=1", "--set", "seed=4", "--set", "lr=2")
    assert config == resolve(("test", {"lr": 2.0, "seed": 4})).config


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--lr", "fast"], "error: `train.lr` (--lr): expected a number > 0, got `fast`\n"),
        (["--set", "train.lrr=1"], "error: unknown field `train.lrr` (--set); did you mean `tra"),
        (["--layer-type", "mpl"], "error: `model.layer_type` (--layer-type): unknown layer type"),
        (["--set", "lr"], "error: --set expects name=value as in train.lr=0.001, got `lr`\n"),
    ],
)
def test_wrong_option_is_a_configuration_error(
    ttt: Callable, args: list[str], message: str
) -> None:
    code, out, err = ttt("config", "show", *args)
    assert (code, out) == (3, "")
    assert err.startswith(message)
