"""The launcher `slurm`: an attempt is a job of one task; the queue decides when and where.

submitit writes the batch script and submits it. Nothing is pickled: the job is `ttt train` itself,
which the batch script turns into, so that signals and the exit code are its own. How jobs stand is
asked of squeue, which needs no accounting database.

A job that is submitted while the harness dies may show up later than the next harness looks. So
each job begins by reading whose turn it is from a file in the run's directory, which `start` writes
and `find` takes back.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ttt_config import ConfigError, HarnessConfig, HarnessError
from ttt_config.harness import SlurmConfig
from ttt_harness.devices import GIB, UNBOUNDED, Device
from ttt_harness.launch.launcher import Ended, Order
from ttt_harness.launch.names import STDERR_NAME, STDOUT_NAME
from ttt_harness.process import TOKEN_VARIABLE

_TURN_NAME = "harness.turn"
_SCRIPTS_NAME = "slurm"
_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 60.0
_SAVE_S = 90
"""Before a job is taken from its machine, its run is told to save."""
_NOT_ITS_TURN = 75
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_WORKING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}


class Job(NamedTuple):
    """How a job stands."""

    name: str
    state: str
    wait_status: int


class SlurmLauncher:
    """Submits attempts to Slurm.

    Args:
        settings: what jobs ask for.

    Raises:
        ConfigError: submitit or Slurm's commands are missing, or an option is none.
    """

    def __init__(self, settings: SlurmConfig) -> None:
        lacking = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
        if lacking:
            raise ConfigError(
                f"harness.launcher slurm: no `{lacking[0]}` on the PATH; is this a machine of the "
                "cluster?"
            )
        try:
            import submitit
        except ImportError as error:
            raise ConfigError(
                "harness.launcher slurm: submitit is missing; install `ttt-harness[slurm]`"
            ) from error
        self._submitit = submitit
        self._settings = settings
        self._options = dict(map(_option, settings.options))
        self._jobs: dict[str, Job] = {}
        self._asked_s = float("-inf")

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """One, without end; `total_vram_gb` says what a single run may take of it."""
        del reserved
        given = settings.total_vram_gb
        share = 1 - settings.vram_margin
        kind = "cuda" if self._settings.gpu else "cpu"
        limit = UNBOUNDED if given is None else int(given * GIB * share)
        return [Device(f"{kind}@slurm", kind, "a queue", UNBOUNDED, limit)]

    def start(self, order: Order) -> str:
        """Submit the job of an attempt.

        Raises:
            OSError: Slurm refuses it.
        """
        utils = self._submitit.core.utils
        _write_turn(order.out, order.token)
        folder = order.out / _SCRIPTS_NAME
        folder.mkdir(exist_ok=True)
        executor = self._submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(
            job_name=f"{re.sub(r'[^A-Za-z0-9_.-]', '_', order.name)}.{order.token}",
            time=self._settings.minutes,
            setup=[_turn_check(order)],
            use_srun=False,
            additional_parameters=self._parameters(order),
            **self._asked_for(order),
        )
        try:
            job = executor._submit_command(_command(order))  # its public way pickles
        except (utils.FailedJobError, utils.FailedSubmissionError) as error:
            raise OSError(str(error).strip()) from error
        return json.dumps({"job": job.job_id})

    def _asked_for(self, order: Order) -> dict[str, object]:
        if self._settings.gpu:
            return {"gpus_per_node": 1}
        return {"mem": f"{-(-order.memory_bytes // 2**20)}M"}

    def _parameters(self, order: Order) -> dict[str, str | bool]:
        return {
            "output": str(order.out / STDOUT_NAME),
            "error": str(order.out / STDERR_NAME),
            "signal": f"B:TERM@{_SAVE_S}",
            "no-requeue": True,  # retries are counted here
            **self._options,
        }

    def find(self, token: str, out: Path) -> str | None:
        """The job of an attempt, by its name.

        Raises:
            HarnessError: Slurm does not answer.
        """
        _write_turn(out, "")
        if not self._ask():
            raise HarnessError("squeue does not answer, so what runs cannot be told; try again")
        for number, job in self._jobs.items():
            if job.name.rpartition(".")[2] == token:
                _write_turn(out, token)
                return json.dumps({"job": number})
        return None

    def has_begun(self, handle: str) -> bool:
        """Whether the job has left the queue, as was last known."""
        job = self._jobs.get(json.loads(handle)["job"])
        return job is not None and job.state not in _WAITING

    def poll(self, handle: str, token: str) -> Ended | None:
        """How the job ended; a code of None if Slurm has forgotten it."""
        del token
        number = json.loads(handle)["job"]
        stale = time.monotonic() - self._asked_s > _ASK_EVERY_S or number not in self._jobs
        if stale and not self._ask():
            return None
        job = self._jobs.get(number)
        if job is None:
            return Ended(None)
        if job.state in _WAITING | _WORKING:
            return None
        code = os.waitstatus_to_exitcode(job.wait_status)
        told = code != 0 or job.state == "COMPLETED"  # of one that was cancelled in time, it is 0
        return Ended(code if told else None, job.state == "OUT_OF_MEMORY")

    def signal(self, handle: str, number: signal.Signals) -> None:
        """Signal the job; one that waits, or is to be killed, is cancelled."""
        job = json.loads(handle)["job"]
        cancel = number == signal.SIGKILL or not self.has_begun(handle)
        how = [] if cancel else [f"--signal={number.name.removeprefix('SIG')}", "--batch"]
        _call("scancel", *how, job)

    def wait(self, handles: Sequence[str], timeout_s: float) -> None:
        """Sleep."""
        del handles
        time.sleep(timeout_s)

    def _ask(self) -> bool:
        """Ask how jobs stand; False if nobody answers."""
        columns = "JobID:|,Name:|,State:|,exit_code:|"
        told = _call("squeue", "--me", "--noheader", "--states=all", f"--Format={columns}")
        self._asked_s = time.monotonic()
        if told is None:
            return False
        rows = [line.strip().split("|") for line in told.splitlines()]
        self._jobs = {row[0]: Job(row[1], row[2], int(row[3])) for row in rows if len(row) == 5}
        return True


def _option(text: str) -> tuple[str, str | bool]:
    """An option of sbatch from its spelling, `name=value` or `name`.

    Raises:
        ConfigError: it is none.
    """
    name, given, value = text.removeprefix("--").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ConfigError(
            f'harness.slurm.options: `{text}` is no option of sbatch; expected "name=value", as in '
            '"partition=long"'
        )
    return name, value if given else True


def _command(order: Order) -> str:
    """What the batch script turns into."""
    added = {**order.environment, TOKEN_VARIABLE: order.token}
    assignments = [f"{name}={value}" for name, value in added.items()]
    return shlex.join(["exec", "env", *assignments, *order.command])


def _turn_check(order: Order) -> str:
    path = shlex.quote(str(order.out / _TURN_NAME))
    return f'[ "$(cat {path})" = {order.token} ] || exit {_NOT_ITS_TURN}'


def _write_turn(out: Path, token: str) -> None:
    unfinished = out / f"{_TURN_NAME}.tmp"
    unfinished.write_text(token)
    unfinished.replace(out / _TURN_NAME)


def _call(*command: str) -> str | None:
    """What a command of Slurm prints; None if it fails."""
    try:
        done = subprocess.run(  # noqa: S603  (commands of Slurm, no shell)
            command, capture_output=True, text=True, check=False, timeout=_ANSWER_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout
