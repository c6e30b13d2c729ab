"""The command `ttt`: where it is, and what it says of a run before it begins."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ttt_config import ConfigError, HarnessError, RunConfig, dump

_DRY_RUN_LIMIT_S = 3600.0
"""The text is read, which may mean that it is fetched first."""


def find_trainer(binary: str | None) -> tuple[str, ...]:
    """The command that trains: the one given, or the `ttt` of this environment, or of the PATH.

    Raises:
        ConfigError: there is none.
    """
    if binary is not None:
        found = shutil.which(binary)
        if found is None:
            raise ConfigError(f"--ttt-binary: no program `{binary}`; give the path of `ttt`")
        return (str(Path(found).absolute()),)
    beside = Path(sys.executable).with_name("ttt")
    found = str(beside) if beside.is_file() else shutil.which("ttt")
    if found is None:
        raise ConfigError("no `ttt` beside this Python nor on the PATH; name it by --ttt-binary")
    return (found,)


def expected_memory(trainer: Sequence[str], config: RunConfig) -> dict[str, int]:
    """What `ttt train --dry-run` expects a run to hold, in bytes, by what it is for.

    Raises:
        HarnessError: it refuses the run; its reason is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(dump(config))
        arguments = ("train", "--config", str(path), "--dry-run", "--json")
        try:
            done = subprocess.run(  # noqa: S603  (our own trainer, no shell)
                [*trainer, *arguments],
                capture_output=True,
                text=True,
                timeout=_DRY_RUN_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HarnessError(f"cannot ask {trainer[0]} about the run: {error}") from error
    if done.returncode:
        raise HarnessError(_reason(done.stderr) or f"exit code {done.returncode}")
    try:
        parts = json.loads(done.stdout.splitlines()[-1])["memory"]
        return {str(name): int(size) for name, size in parts.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise HarnessError(f"{trainer[0]} gave no memory estimate: {error!r}") from error


def _reason(stderr: str) -> str:
    last = (stderr.strip().splitlines() or [""])[-1]
    try:
        return "; ".join(json.loads(last)["error"]["issues"])
    except (ValueError, KeyError, TypeError):
        return last
