import re
from pathlib import Path

import pytest

from ttt_config import ConfigError, InvalidValueError, RunConfig, dump, load, resolve
from ttt_config.layer import assignment_layer, file_layer, text_layer


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_load_reads_a_file_over_the_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", "seq_len = 64\n[train]\nsteps = 7\n")
    config = load(file)
    assert (config.model.max_seq_len, config.train.steps) == (64, 7)
    assert config.data == RunConfig().data


def test_load_reads_a_run_directory(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", dump(load(write(tmp_path / "a.toml", "batch = 3"))))
    assert load(str(tmp_path)).train.batch_size == 3


def test_problems_name_file_and_line(tmp_path: Path) -> None:
    text = "out = 3\n\n[train]\nlr = 1.0  # fine\nstepps = 4\n[ model.inner ]\neps = -1.0\n[nope]\n"
    file = write(tmp_path / "a.toml", text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    lines = [re.findall(r"line (\d+)", str(issue)) for issue in caught.value.issues]
    assert lines == [["1"], ["5"], ["7"], ["8"]]
    assert all(f"(file {file}, line" in str(issue) for issue in caught.value.issues)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*No such file"):
        file_layer(tmp_path / "a.toml")


@pytest.mark.parametrize("content", [b"lr = ", b"\xff\xfe"])
def test_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.toml is not a TOML file"):
        load(file)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.lr=1e-4", "train.lr", 1e-4),
        ("lr = 3", "train.lr", 3.0),
        ("inner.mini_batch=4", "model.inner.mini_batch_size", 4),
        ("model.inner=mlp", "model.layer_type", "mlp"),
        ("use_gate=true", "model.use_gate", True),
        ("vocab_size=None", "model.vocab_size", None),
        ("vocab_size=64", "model.vocab_size", 64),
        ("out=12", "out", "12"),
        ("out=a=b", "out", "a=b"),
    ],
)
def test_set_reads_text_as_the_fields_type(text: str, path: str, value: object) -> None:
    config, provenance = resolve(assignment_layer(text))
    got: object = config
    for name in path.split("."):
        got = getattr(got, name)
    assert got == value
    assert type(got) is type(value)
    assert provenance[path] == "--set"


@pytest.mark.parametrize("text", ["lr", "=3", ""])
def test_set_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match=f"expects name=value .*, got `{text}`"):
        assignment_layer(text)


@pytest.mark.parametrize("name", ["nope", "nope.lr", "train.nope", "train..lr", "."])
def test_set_of_an_unknown_name_is_an_unknown_field(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown field"):
        resolve(assignment_layer(f"{name}=3"))


def test_text_of_the_wrong_type_is_judged_by_resolve() -> None:
    with pytest.raises(InvalidValueError, match=r"\(--lr\): expected a number > 0, got `fast`"):
        resolve(text_layer("--lr", "train.lr", "fast"))
