"""What documents say of the harness is what the code has."""

import tomllib
from pathlib import Path

import pytest

from ttt_config.harness import EntryConfig, HarnessConfig, SweepConfig
from ttt_config.resolve import resolve_as
from ttt_config.schema import keys_table
from ttt_harness.plan import load_plan

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "harness.md").read_text()
SOURCES = ROOT / "packages" / "ttt-harness" / "src" / "ttt_harness"


@pytest.mark.parametrize("keys", [EntryConfig, SweepConfig, HarnessConfig])
def test_the_tables_of_keys_are_those_of_the_schema(keys: type) -> None:
    assert keys_table(keys) in DOCUMENT


def test_the_example_in_the_document_is_a_plan(tmp_path: Path) -> None:
    text = DOCUMENT.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "harness.toml").write_text(text)
    assert [run.name for run in load_plan(tmp_path / "harness.toml").runs] == [
        *("base", "long", "lr0.001-linear", "lr0.001-mlp", "lr0.003-linear", "lr0.003-mlp")
    ]


@pytest.mark.parametrize("launcher", ["slurm", "ray"])
def test_what_the_document_says_of_a_cluster_is_valid(launcher: str) -> None:
    blocks = [text.partition("```")[0] for text in DOCUMENT.split("```toml\n")[1:]]
    (block,) = [text for text in blocks if f'launcher = "{launcher}"' in text]
    settings = resolve_as(HarnessConfig, ("docs", tomllib.loads(block)["harness"])).config
    assert settings.launcher == launcher


def test_the_example_file_is_a_plan() -> None:
    plan = load_plan(ROOT / "configs" / "harness.toml")
    assert [run.name for run in plan.runs] == ["linear", "mlp", "lr0.001", "lr0.01"]
    assert plan.notes == ()


def test_every_module_is_in_the_table_of_the_package() -> None:
    readme = (SOURCES.parents[1] / "README.md").read_text()
    modules = {path.stem for path in SOURCES.glob("*.py")} - {"__init__", "__main__"}
    assert {name for name in modules if f"`{name}`" not in readme} == set()
