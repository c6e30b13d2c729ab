"""A Slurm cluster of one node on the loopback interface, made in a folder and gone with it.

Debian's packages `slurm-wlm` and `munge` have the programs; nothing of the system's own Slurm, if
there is one, is touched.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "sinfo", "squeue")
_PATIENCE_S = 60.0
_SBIN = "/usr/sbin"

_CONF = """
ClusterName=ttt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not on this machine, and what else stands in the way."""
    lacking = [name for name in PROGRAMS if _which(name) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "the rights of root"]


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:{_SBIN}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def slurm_cluster(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start a cluster; what must be in the environment of its commands."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(
            folder=folder,
            host=host,
            user="root",
            cpus=cpus,
            control=_free_port(),
            node=_free_port(),
        )
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:{_SBIN}"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", "--num-threads=1"]
    munged += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munged += [f"--seed-file={folder}/munge.seed"]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "daemons.log").open("w"))
        daemons = [munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]]
        for command in daemons:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            stack.callback(_end, process)
            if command is munged:
                _until((folder / "munge.socket").exists, folder)
        _until(lambda: _is_idle(environment), folder)
        yield environment


def _is_idle(environment: dict[str, str]) -> bool:
    told = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
    )
    return told.stdout.strip() == "idle"


def _until(condition: Callable[[], bool], folder: Path) -> None:
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > _PATIENCE_S:
            raise TimeoutError((folder / "daemons.log").read_text())
        time.sleep(0.1)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
