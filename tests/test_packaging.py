"""What judges a wheel finds what is wrong with it."""

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

METADATA = """Metadata-Version: 2.4
Name: ttt-some
Version: 0.1.0
Summary: Something.
License-Expression: MIT
Requires-Python: >=3.11
Requires-Dist: ttt-config>=0.1,<0.2
Requires-Dist: numba>=0.62 ; extra == 'cpu'
Provides-Extra: cpu

# ttt-some
"""
WHOLE = {
    "ttt_some/__init__.py": "",
    "ttt_some/py.typed": "",
    "ttt_some-0.1.0.dist-info/METADATA": METADATA,
    "ttt_some-0.1.0.dist-info/entry_points.txt": "[console_scripts]\nttt-some = ttt_some:main\n",
    "ttt_some-0.1.0.dist-info/licenses/LICENSE": (ROOT / "LICENSE").read_text(),
}


@pytest.fixture(scope="module")
def check_wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheels", ROOT / "scripts/check_wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


INFO = "ttt_some-0.1.0.dist-info"
BOUNDS = "ttt-config>=0.1,<0.2"
MISTAKES = {
    "expected that it is typed": {"ttt_some/py.typed": None},
    "expected that it holds the licence": {f"{INFO}/licenses/LICENSE": None},
    "expected that it has its console scripts": {f"{INFO}/entry_points.txt": None},
    "expected that it holds its module and nothing else": {"tests/test_some.py": ""},
    "expected that it has its extras": {
        f"{INFO}/METADATA": METADATA.replace("Provides-Extra: cpu", "Provides-Extra: gpu")
    },
    "requires ttt-config, expected bounds that hold 0.1.0 and not 0.2.0": {
        f"{INFO}/METADATA": METADATA.replace(BOUNDS, "ttt-config")
    },
    "requires ttt-config @ file:///home/config, which no index can serve": {
        f"{INFO}/METADATA": METADATA.replace(BOUNDS, "ttt-config @ file:///home/config")
    },
}


def judge(check_wheels: ModuleType, folder: Path, files: dict[str, str | None]) -> list[str]:
    wheel = folder / "ttt_some-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    project = {
        "name": "ttt-some",
        "scripts": {"ttt-some": "ttt_some:main"},
        "optional-dependencies": {"cpu": ["numba"]},
    }
    return check_wheels.judge(wheel, check_wheels.Member(folder, project, "ttt_some"))


def test_a_whole_wheel_has_no_mistake(check_wheels: ModuleType, tmp_path: Path) -> None:
    assert judge(check_wheels, tmp_path, {**WHOLE}) == []


@pytest.mark.parametrize("named", MISTAKES)
def test_a_mistake_in_a_wheel_is_named(
    check_wheels: ModuleType, tmp_path: Path, named: str
) -> None:
    found = judge(check_wheels, tmp_path, {**WHOLE, **MISTAKES[named]})
    assert found == [f"ttt_some-0.1.0-py3-none-any.whl: {named}"]


def test_every_folder_of_the_workspace_is_a_member(check_wheels: ModuleType) -> None:
    names = {member.name for member in check_wheels.workspace_members(ROOT)}
    folders = {path.parent.name for path in ROOT.glob("*/*/pyproject.toml")}
    assert folders <= names


def test_both_dockerfiles_have_the_same_stages() -> None:
    stages = [
        (ROOT / name).read_text().split("# From here on")[1]
        for name in ("Dockerfile.cuda", "Dockerfile.rocm")
    ]
    assert stages[0] == stages[1]
