"""Every command in the documentation is run, every link leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *("README.md", "QUICKSTART.md", "CONTRIBUTING.md"),
    *("docs/data.md", "docs/harness.md", "docs/install.md", "docs/kernels.md"),
    *("docs/release.md", "docs/reliability.md"),
    "packages/ttt-kernels/src/ttt_kernels/verify/README.md",
]
LINKING = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "packages/*/src/**/README.md")
    for path in ROOT.glob(pattern)
)

# What a document asks the reader to do, and how a test does it in seconds instead of minutes.
SMALL_HARNESS = (
    r"sed -e 's/^steps = .*/steps = 2/' -e 's/^documents = .*/documents = 40/'"
    r" -e 's/^eval_samples = .*/eval_samples = 2/' -e 's/^\[defaults\]/&\nmemory_gb = 1/'"
    r" -e '/^\[\[sweep/,$d' configs/harness.toml > small.toml && "
)
"""Two of the runs, two steps of each."""
SHORTENED = {
    "bash nix/check.sh": "bash -n nix/check.sh",  # .ci/run does, where there is Nix
    "make images-check": "make --dry-run images-check",
    'make wheels-check WHEELS="--keep dist"': "make --dry-run wheels-check",
    "scripts/setup_env.sh cpu": "bash -n scripts/setup_env.sh",
    "TTT_BACKEND=cpu make env": "make --dry-run env",
    "ttt doctor": "ttt doctor --help",  # its kernel check compiles
    "ttt-harness run --config configs/harness.toml": (
        SMALL_HARNESS + "ttt-harness run --config small.toml"
    ),
    "ttt-harness run --config configs/harness.toml --dry-run": (
        SMALL_HARNESS + "ttt-harness run --config small.toml --dry-run"
    ),
    "ttt-harness estimate --config configs/harness.toml": (
        SMALL_HARNESS + "ttt-harness estimate --config small.toml"
    ),
    (
        ".venv/bin/python -m pytest -q -m slow packages/ttt-harness/tests/test_slurm.py "
        "packages/ttt-harness/tests/test_ray.py"
    ): (
        "python -m pytest -q -m slow --collect-only -p no:cacheprovider "
        "packages/ttt-harness/tests/test_slurm.py packages/ttt-harness/tests/test_ray.py"
    ),
    ".venv/bin/python benches/bench_harness.py": "python benches/bench_harness.py --runs 40",
    ".venv/bin/python benches/bench_harness.py --processes": (
        "python benches/bench_harness.py --runs 40 --processes"
    ),
    "make env": "make --dry-run env",  # it would remake the environment the tests run in
    "make demo": "make --dry-run demo && scripts/demo.sh --steps 3 --documents 60",
    "make test": "make --dry-run test",
    "make slow": "make --dry-run slow",
    "make chaos": "make --dry-run chaos",
    "make check": "make --dry-run check",
    "python scripts/bench_data.py": "python scripts/bench_data.py --megabytes 0.5 --rounds 1",
    "python scripts/bench_data.py --gigabyte": "python scripts/bench_data.py --help",
    "python scripts/check_readers.py": "python scripts/check_readers.py --documents 40",
    "make fmt": "make --dry-run fmt",
    "ttt kernels check": "ttt kernels check --help",
    "ttt kernels check --kernel cpu": "ttt kernels check --kernel reference",
    "ttt kernels report --target sm_80 --target sm_90 --target gfx942 --kernel tile": (
        "ttt kernels report --target sm_80 --kernel tile --dim 16"
    ),
    "ttt kernels report --target sm_80 --kernel tile --executed --form throughput": (
        "ttt kernels report --target sm_80 --kernel tile --dim 16 --form throughput"
    ),
    "ttt kernels report --target sm_80 --kernel tile --executed": (
        "ttt kernels report --target sm_80 --kernel tile --dim 16 --executed"
    ),
    "ttt kernels report --target gfx1100 --target gfx1030": (
        "ttt kernels report --target gfx1100 --target gfx1030 --kernel naive --dim 16"
    ),
    "ttt kernels report --target sm_80 --target sm_90 --target gfx942 --kernel tile --dim 128": (
        "ttt kernels report --target sm_80 --kernel tile --dim 16"
    ),
    "ttt kernels report --target sm_80 --kernel tile --dtype float32": (
        "ttt kernels report --target sm_80 --kernel tile --dim 16 --dtype float32"
    ),
    "ttt kernels tune --target sm_80 --kernel tile": "ttt kernels tune --help",
    "ttt kernels tune --target sm_80 --kernel tile --write": "ttt kernels tune --help",
    "ttt kernels cache --clear": (
        "TTT_KERNELS_CACHE=cpu TRITON_CACHE_DIR=triton ttt kernels cache --clear"
    ),
    ".venv/bin/python -m pytest -q packages/ttt-kernels packages/ttt-core": (
        "test -d packages/ttt-kernels/tests -a -d packages/ttt-core/tests"
    ),
    "scripts/check_triton_versions.sh": "bash -n scripts/check_triton_versions.sh",
    ".venv/bin/python benches/bench_cpu.py layer": (
        "python benches/bench_cpu.py layer --rounds 1 --tokens 32"
    ),
    ".venv/bin/python benches/bench_cpu.py step": (
        "python benches/bench_cpu.py step --rounds 1 --size 12m --tokens 32"
    ),
    ".venv/bin/python scripts/measure_walk_back.py": (
        "python scripts/measure_walk_back.py --tokens 64 --lr-scale 1"
    ),
}


def steps(document: str) -> list[list[str]]:
    """What the document tells the reader to run, in order, as argument lists.

    Of ```sh blocks each line, continuation lines joined and comments dropped; ```python blocks as
    they are.
    """
    found: list[list[str]] = []
    text = (ROOT / document).read_text()
    for language, block in re.findall(r"```(sh|python)\n(.*?)```", text, flags=re.DOTALL):
        if language == "python":
            found.append([sys.executable, "-c", block])
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*", "", line).strip()
            if command and not command.startswith(("git clone", "cd ")):
                shortened = SHORTENED.get(command, command)
                found.append(["bash", "-euo", "pipefail", "-c", shortened])
    return found


@pytest.mark.docs
@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_examples_run_in_order(document: str, tmp_path: Path) -> None:
    """They run in a copy of the repository's face, so that nothing is left behind."""
    workplace = tmp_path / "repository"
    workplace.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {".git", "runs"}:
            (workplace / entry.name).symlink_to(entry)
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    assert steps(document)
    for step in steps(document):
        result = subprocess.run(
            step, cwd=workplace, env=environment, capture_output=True, text=True, timeout=100
        )
        assert result.returncode == 0, f"{step[-1]}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("document", LINKING)
def test_links_lead_to_files(document: str) -> None:
    path = ROOT / document
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", prose)
    missing = [
        link for link in links if not link.startswith("http") and not (path.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.docs
@pytest.mark.parametrize("package", sorted(path.name for path in ROOT.glob("packages/*")))
def test_python_examples_of_a_package_run(package: str, tmp_path: Path) -> None:
    readme = (ROOT / "packages" / package / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        script = tmp_path / f"{package}_{number}.py"
        script.write_text(example)
        result = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
