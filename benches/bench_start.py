"""How long commands take that do next to nothing: what everybody waits for at each call.

    python benches/bench_start.py                  ten rounds
    python benches/bench_start.py --rounds 3

Milliseconds of the processor, interleaved: medians, with the smallest and the largest in brackets.
The aim for `ttt --help` and `ttt-harness status` is 150; a start of Python itself is the first row.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ttt_harness.model import RunRecord
from ttt_harness.store import Paths, Store

COMMANDS = {
    "python": ("-c", "pass"),
    "ttt --help": ("-m", "ttt_cli", "--help"),
    "ttt train --help": ("-m", "ttt_cli", "train", "--help"),
    "ttt config schema": ("-m", "ttt_cli", "config", "schema"),
    "ttt-harness status": ("-m", "ttt_harness", "status", "--state", "state.db"),
}


def cpu_ms(arguments: Sequence[str], folder: Path) -> float:
    """Of a process of this Python from its start to its end."""

    def children_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    begun_s = children_s()
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    return (children_s() - begun_s) * 1000


def write_state(folder: Path) -> None:
    """A harness with ten runs that wait."""
    with Store(Paths(folder / "state.db").database, create=True) as store:
        store.save(*(RunRecord(f"run{n}", position=n, out=f"run{n}") for n in range(10)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        write_state(Path(name))
        taken = [
            {command: cpu_ms(given, Path(name)) for command, given in COMMANDS.items()}
            for _ in range(rounds)
        ]
    for command in COMMANDS:
        times = [each[command] for each in taken]
        print(f"{command:20}{statistics.median(times):6.0f} [{min(times):.0f}, {max(times):.0f}]")


if __name__ == "__main__":
    main()
