"""The batch script passes signals on and queues a run again that has more to do."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/slurm_train.sh"

TTT = """#!/usr/bin/env bash
echo "$@" >>calls
[ "$1" = doctor ] && exit 0
trap 'exit 75' USR2
trap 'exit 75' TERM
touch started
for _ in $(seq "$RUNS_FOR"); do sleep 0.05; done
"""
SCONTROL = '#!/usr/bin/env bash\necho "$@" >>queued\n'


def start(folder: Path, *, runs_for: int) -> subprocess.Popen[bytes]:
    programs = folder / "bin"
    programs.mkdir()
    for name, content in (("ttt", TTT), ("scontrol", SCONTROL)):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RUNS_FOR": str(runs_for),
        "SLURM_JOB_ID": "17",
        "SLURM_SUBMIT_DIR": str(folder),
    }
    return subprocess.Popen([SCRIPT, "--steps", "9"], env=environment)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_run_that_was_stopped_is_queued_again(tmp_path: Path, number: signal.Signals) -> None:
    job = start(tmp_path, runs_for=400)
    while not (tmp_path / "started").exists():
        assert job.poll() is None
        time.sleep(0.01)
    job.send_signal(number)
    assert job.wait(timeout=30) == 75
    assert (tmp_path / "queued").read_text() == "requeue 17\n"


def test_a_run_that_ended_is_not(tmp_path: Path) -> None:
    assert start(tmp_path, runs_for=1).wait(timeout=30) == 0
    assert not (tmp_path / "queued").exists()
    assert (tmp_path / "calls").read_text().splitlines() == [
        "doctor device disk --out runs/slurm",
        "train --out runs/slurm --resume auto --plain --steps 9",
    ]
