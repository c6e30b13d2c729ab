import subprocess
import sys

import pytest

import ttt_training


def test_the_public_names_are_pinned() -> None:
    assert sorted(ttt_training.__all__) == [
        "Sampling",
        "Session",
        "evaluate",
        "generate",
        "load_checkpoint",
        "load_run",
        "save_checkpoint",
        "train",
        "verify_checkpoint",
    ]
    assert all(callable(getattr(ttt_training, name)) for name in ttt_training.__all__)


@pytest.mark.parametrize("module", ["run_dir", "retention", "resume", "events"])
def test_reading_a_run_directory_needs_no_torch(module: str) -> None:
    code = f"import sys, ttt_training.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_module_imported_first_hides_no_public_name() -> None:
    """Importing `package.name` sets the attribute `name`, which a public one must not share."""
    code = (
        "import pkgutil, ttt_training as t; "
        "assert not {m.name for m in pkgutil.iter_modules(t.__path__)} & set(t.__all__)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
