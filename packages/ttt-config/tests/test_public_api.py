import subprocess
import sys

import pytest

import ttt_config
from ttt_config import errors

EXIT_CODES = {
    "TTTError": 1,
    "ConfigError": 3,
    "UnknownFieldError": 3,
    "InvalidValueError": 3,
    "IncompatibleError": 3,
    "DataError": 4,
    "TokenizerError": 4,
    "TokenStoreCorruptError": 4,
    "CheckpointError": 5,
    "CheckpointIncompleteError": 5,
    "CheckpointCorruptError": 5,
    "CheckpointMismatchError": 5,
    "TrainingError": 7,
    "NonFiniteError": 7,
    "PreemptedError": 75,
    "HarnessError": 9,
    "LockHeldError": 9,
    "RunFailedError": 9,
}


def test_public_names_are_pinned() -> None:
    configs = {"RunConfig", "ModelConfig", "InnerConfig", "TrainConfig", "DataConfig", "MixPattern"}
    configs |= {"HarnessConfig"}
    functions = {"load", "preset", "resolve", "dump", "diff", "schema"}
    assert set(ttt_config.__all__) == configs | functions | set(EXIT_CODES)


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_error_is_ours_and_has_its_exit_code(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, errors.TTTError)
    assert error.exit_code == EXIT_CODES[name]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in EXIT_CODES)


def test_config_errors_are_value_errors() -> None:
    assert issubclass(errors.ConfigError, ValueError)


def test_several_problems_of_one_kind_keep_their_kind() -> None:
    kinds = [errors.InvalidValueError("a"), errors.InvalidValueError("b")]
    combined = errors.ConfigError.combine(kinds)
    assert type(combined) is errors.InvalidValueError
    assert (str(combined), combined.issues) == ("a\nb", tuple(kinds))
    mixed = errors.ConfigError.combine([*kinds, errors.UnknownFieldError("c")])
    assert type(mixed) is errors.ConfigError


def test_import_brings_in_no_heavy_package() -> None:
    code = "import sys, ttt_config; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "typer", "pydantic", "rich"} & set(loaded.stdout.split())
