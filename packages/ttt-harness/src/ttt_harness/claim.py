"""Whose a run's directory is: a harness touches none that it did not begin."""

import json
from pathlib import Path

from ttt_config import ConfigError

CLAIM_NAME = "harness.json"
_SIGNS_OF_A_RUN = ("run.json", "config.toml", "checkpoints")


def claim_directory(out: Path, state_id: str, run: str) -> None:
    """Make a directory the one of a run of this state; it stays so.

    Raises:
        ConfigError: it holds a run that was begun otherwise, or belongs to another run or state.
    """
    claim = out / CLAIM_NAME
    mine = {"state": state_id, "run": run}
    try:
        found = json.loads(claim.read_text())
    except (OSError, ValueError):
        found = None
    if found == mine:
        return
    if found is not None:
        raise ConfigError(
            f"run `{run}`: {out} belongs to run `{found.get('run')}` of another harness state; "
            "choose another with `out`, or move it away"
        )
    taken = next((name for name in _SIGNS_OF_A_RUN if (out / name).exists()), None)
    if taken is not None:
        raise ConfigError(
            f"run `{run}`: {out} holds a {taken} that this harness did not begin; choose another "
            "with `out`, or move it away"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished = claim.with_suffix(".tmp")
        unfinished.write_text(json.dumps(mine))
        unfinished.replace(claim)
    except OSError as error:
        raise ConfigError(f"run `{run}`: cannot write {out}: {error.strerror}") from error


def set_aside(out: Path) -> Path | None:
    """Rename the directory of a run, so that the run begins anew; None if there is none."""
    if not out.exists():
        return None
    number = 1
    while (aside := out.with_name(f"{out.name}.old{number}")).exists():
        number += 1
    out.rename(aside)
    (aside / CLAIM_NAME).unlink(missing_ok=True)
    return aside
