"""The shape of the repository: who may import whom, what is public, how large a module may grow."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("apps/*/src/**/*.py")])


def test_imports_keep_the_layer_contract() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("package", "public"),
    [
        (
            "ttt_config",
            "RunConfig ModelConfig InnerConfig TrainConfig DataConfig MixPattern "
            "load resolve dump diff schema TTTError",
        ),
        ("ttt_kernels", "ttt_linear ttt_linear_adam ttt_mlp available_kernels"),
        (
            "ttt_core",
            "InnerModel InnerState InnerTrace TTTLinear TTTLinearAdam TTTMLP build_inner",
        ),
        ("ttt_layer", "TTTModel ModelState TTTLayer TTTBlock"),
        ("ttt_layer.official", "from_official to_official"),
        ("ttt_data", "Loader LoaderState Tokenizer"),
        ("ttt_harness", "Plan Run RunStatus Scheduler estimate_memory"),
        (
            "ttt_training",
            "train evaluate generate save_checkpoint load_checkpoint verify_checkpoint",
        ),
    ],
)
def test_public_names_are_there(package: str, public: str) -> None:
    module = importlib.import_module(package)
    missing = [name for name in public.split() if not hasattr(module, name)]
    assert not missing
    assert set(getattr(module, "__all__", [])) <= set(dir(module))


@pytest.mark.parametrize(
    "package", ["ttt_config", "ttt_data", "ttt_harness.commands.run", "ttt_cli.main"]
)
def test_packages_without_tensors_do_not_import_torch(package: str) -> None:
    code = f"import sys, {package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_modules_stay_readable_in_one_sitting() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert lengths
    assert {path: n for path, n in lengths.items() if n > 400} == {}


def test_nothing_is_unpickled_or_evaluated() -> None:
    forbidden = ("import pickle", "torch.load(", "eval(", "exec(", "allow_pickle=True")
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in SOURCES
        for word in forbidden
        if word in path.read_text().replace("model.eval()", "").replace(".eval()", "")
    ]
    assert found == []


def test_every_package_says_what_it_is() -> None:
    for project in [*ROOT.glob("packages/*"), *ROOT.glob("apps/*")]:
        assert len((project / "README.md").read_text().splitlines()) > 5, project
        assert list(project.glob("src/*/py.typed")), project
