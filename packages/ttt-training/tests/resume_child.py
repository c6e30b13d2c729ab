"""Trains the runs it is asked for, each in a fork of its own that kills itself with SIGKILL.

Each line of standard input is a JSON object: `config`, a TOML file; `kill_at`, the step after whose
record the fork dies, or `kill_in_save`, the number of the file operation of its saves before which
it dies. Each is answered by a line: how the fork ended, as `subprocess` numbers it. Forking saves
the seconds that torch takes to import.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from ttt_config import load
from ttt_training import train
from ttt_training.events import StepRecord, TrainEvent


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).zero_grad()  # imports half of torch
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        fork = os.fork()
        if fork == 0:
            obey(json.loads(line))
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])}\n")
        sys.stdout.flush()


def obey(order: dict[str, Any]) -> None:
    config = load(order["config"])

    def watch(event: TrainEvent) -> None:
        if isinstance(event, StepRecord) and event.step == order.get("kill_at"):
            die()

    if "kill_in_save" in order:
        kill_in_save(order["kill_in_save"])
    train(config, resume="auto", on_event=watch)


def kill_in_save(number: int) -> None:
    """Die at the `number`th file operation of all saves, counted from 0."""
    import ttt_training.checkpoint as module

    left = number

    def counted(function: object) -> object:
        def call(*arguments: object) -> object:
            nonlocal left
            if left == 0:
                die()
            left -= 1
            return function(*arguments)  # type: ignore[operator]

        return call

    for name in ("write_tensors", "hash_file", "fsync"):
        setattr(module, name, counted(getattr(module, name)))
    Path.rename = counted(Path.rename)  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    main()
