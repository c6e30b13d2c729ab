import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from ttt_config import RunConfig, dump, resolve, schema
from ttt_config.schema import markdown_table, toml_template


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A TOML file of a 60m model, and a run directory of the defaults."""
    file, run = tmp_path / "a.toml", tmp_path / "run"
    file.write_text('size = "60m"\nlr = 0.5\n')
    run.mkdir()
    (run / "config.toml").write_text(dump(RunConfig()))
    return str(file), str(run)


def test_show_prints_toml_with_the_source_of_each_value(ttt: Callable) -> None:
    code, out, _ = ttt("config", "show", "--size", "60m")
    assert code == 0
    rows = [tuple(row.split()) for row in out.splitlines()]
    assert ("size", "=", '"60m"', "#", "--size") in rows
    assert ("hidden_size", "=", "512", "#", "size", "60m") in rows
    assert ("lr", "=", "0.003", "#", "default") in rows
    shown = resolve(("shown", tomllib.loads(out))).config
    assert shown == resolve(("test", {"size": "60m"})).config


def test_show_as_json_has_config_and_provenance(ttt: Callable) -> None:
    answer = json.loads(ttt("config", "show", "--json").out)
    assert resolve(("shown", answer["config"])).config == RunConfig()
    assert set(answer["provenance"].values()) == {"default"}


def test_schema_has_three_forms(ttt: Callable) -> None:
    assert json.loads(ttt("config", "schema").out) == schema()
    assert ttt("config", "schema", "--format", "toml").out == toml_template()
    assert ttt("config", "schema", "--format", "markdown").out == markdown_table()
    assert ttt("config", "schema", "--format", "yaml").code == 2


def test_diff_lists_what_differs(ttt: Callable, files: tuple[str, str]) -> None:
    code, out, _ = ttt("config", "diff", *files)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["model.size", '"60m"', "->", '"12m"'],
        ["model.hidden_size", "512", "->", "256"],
        ["model.num_heads", "8", "->", "4"],
        ["model.intermediate_size", "768", "->", "512"],
        ["train.lr", "0.5", "->", "0.003"],
    ]


def test_diff_of_equals_says_so(ttt: Callable, files: tuple[str, str]) -> None:
    assert ttt("config", "diff", files[1], files[1]) == (0, "no difference\n", "")


def test_diff_as_json_is_a_list(ttt: Callable, files: tuple[str, str]) -> None:
    found = json.loads(ttt("config", "diff", *files, "--json").out)
    assert found[-1] == {"path": "train.lr", "a": 0.5, "b": 0.003}
    assert json.loads(ttt("config", "diff", files[0], files[0], "--json").out) == []


def test_diff_of_a_missing_file_is_a_configuration_error(ttt: Callable, tmp_path: Path) -> None:
    code, _, err = ttt("config", "diff", str(tmp_path / "a.toml"), str(tmp_path))
    assert code == 3
    assert err.startswith("error: cannot read the configuration ")


def test_no_form_of_config_imports_torch(files: tuple[str, str]) -> None:
    code = (
        "import sys; from ttt_cli.main import main\n"
        f"for args in (['show'], ['schema'], ['diff', {files[0]!r}, {files[1]!r}]):\n"
        "    try: main(['config', *args])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "ttt_cli.commands.config" in loaded
    assert not loaded & {"torch", "numpy", "ttt_training", "ttt_layer"}


def test_ttt_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "ttt_cli", "config", "show", "--set", "lr=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: `lr` (--set): expected a number > 0, got `0.0`\n"
