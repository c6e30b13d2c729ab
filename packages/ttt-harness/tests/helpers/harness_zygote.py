"""Runs `ttt-harness`, and through it `ttt train`, in forks of a process that has imported torch.

What is started is the real thing, in processes of their own that can be killed; only the seconds
that each would take to import torch are saved. Reads one JSON object a line:

    {"train": ["--config", ...]}    train, and say the exit code
    {"harness": ["run", ...]}       start a harness, and say its pid
    {"wait": pid}                   say how that harness ended
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch

import ttt_training.run  # noqa: F401
from ttt_cli.main import main as ttt
from ttt_config import HarnessConfig
from ttt_harness.commands import run as run_command
from ttt_harness.launch.launcher import Launcher, Order
from ttt_harness.launch.local import LocalLauncher
from ttt_harness.main import main as ttt_harness
from ttt_harness.process import identify


def fork_trainer(order: Order) -> int:
    """Start the process of an order, as `ttt_harness.launch.local.spawn` does."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(order.out / "stdout.log", append), 1)
        os.dup2(os.open(order.out / "stderr.log", append), 2)
        for path in list(Path("/proc/self/fd").iterdir()):
            close_as_exec_would(int(path.name))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
        note_whether_alone(order.out)
        ttt(order.command[1:])
    except SystemExit as end:
        leave(end)
    os._exit(1)


def leave(end: SystemExit) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else 1)


def close_as_exec_would(number: int) -> None:
    try:
        if not os.get_inheritable(number) and number > 2:
            os.close(number)
    except OSError:
        pass  # that of the listing itself


def note_whether_alone(out: Path) -> None:
    """Write down every process that works on a run, and whether an earlier one still does."""
    pids = out / "pids"
    for line in pids.read_text().splitlines() if pids.exists() else ():
        earlier = json.loads(line)
        if identify(earlier[0]) == tuple(earlier):
            (out / "two-at-once").touch()
    with pids.open("a") as file:
        file.write(json.dumps(identify(os.getpid())) + "\n")


def in_fork(work: Callable[[list[str]], None], args: list[str], log: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work(args)
    except SystemExit as end:
        leave(end)
    os._exit(1)


def forking(settings: HarnessConfig) -> Launcher:
    del settings
    return LocalLauncher(spawn=fork_trainer)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).zero_grad()  # imports half of torch
    run_command.open_launcher = forking
    log = sys.argv[1]
    say("ready")
    for line in sys.stdin:
        match json.loads(line):
            case {"train": args}:
                say(str(wait(in_fork(ttt, ["train", *args], log))))
            case {"harness": args}:
                say(str(in_fork(ttt_harness, args, log)))
            case {"wait": pid}:
                say(str(wait(pid)))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
