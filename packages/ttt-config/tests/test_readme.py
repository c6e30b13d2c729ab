import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_example_runs_and_prints_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["64 mlp", "--lr size 125m"]
    assert lines[-1].startswith("unknown field `train.warmup_stpes` (file demo.toml); did you mean")


def test_every_module_is_in_the_table() -> None:
    table = README.read_text(encoding="utf-8")
    modules = {path.name for path in (README.parent / "src" / "ttt_config").glob("*.py")}
    assert all(f"`{name}`" in table for name in modules - {"__init__.py"})
