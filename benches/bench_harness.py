"""How long `ttt-harness` takes over many runs, and whether its memory grows with what it has done.

    python benches/bench_harness.py                run 1000 of no duration, four at once
    python benches/bench_harness.py --processes    the same, each a process that ends at once

Each run is scheduled, begun, ended and written down as in earnest, in a state on the disk.
"""

import argparse
import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ttt_config import HarnessConfig
from ttt_harness.devices import Device
from ttt_harness.launch.launcher import Ended, Launcher, Order
from ttt_harness.launch.local import LocalLauncher
from ttt_harness.model import RunRecord
from ttt_harness.store import Paths, Store
from ttt_harness.supervisor import Outcome, Supervisor

ROOM_FOR_FOUR = Device("cpu", "cpu", "made up", 4, 4)
"""Each run takes a byte."""


class Instant:
    """A launcher whose attempts have ended before anybody looks."""

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """Make one up."""
        del settings, reserved
        return [ROOM_FOR_FOUR]

    def start(self, order: Order) -> str:
        """Begin nothing."""
        return json.dumps([order.name])

    def find(self, token: str, out: Path) -> str | None:
        """Find nothing."""
        del token, out

    def has_begun(self, handle: str) -> bool:
        """Keep nothing waiting."""
        del handle
        return True

    def poll(self, handle: str, token: str) -> Ended | None:
        """Say that it went well."""
        del handle, token
        return Ended(0)

    def signal(self, handle: str, number: signal.Signals) -> None:
        """Do nothing."""

    def wait(self, handles: Sequence[str], timeout_s: float) -> None:
        """Do not wait."""


class Processes(LocalLauncher):
    """Processes of this machine, on the made-up device."""

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        """Make one up."""
        del settings, reserved
        return [ROOM_FOR_FOUR]


def measure(launcher: Launcher, trainer: str, runs: int, folder: Path) -> tuple[Outcome, float]:
    """Supervise so many runs; how it ended and how long it took, in seconds."""
    paths = Paths(folder / "state.db")
    records = [
        RunRecord(f"run{n}", position=n, need_bytes=1, out=str(folder / f"run{n}"))
        for n in range(runs)
    ]
    with Store(paths.database, create=True) as store:
        store.save(*records)
        supervisor = Supervisor(paths, store, launcher, HarnessConfig(), [trainer])
        begun_s = time.perf_counter()
        outcome = supervisor.run(rss_watch(runs, supervisor))
        return outcome, time.perf_counter() - begun_s


MARKS: list[int] = []
"""Peak memory of this process in bytes when a half and when all of the runs had ended."""


def rss_watch(runs: int, supervisor: Supervisor) -> Callable[[], None]:
    """Note the memory at half-time and at the end."""
    MARKS.clear()

    def look() -> None:
        ended = sum(run.status == "completed" for run in supervisor.runs.values())
        if (not MARKS and ended >= runs // 2) or ended == runs:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            MARKS.append(peak if sys.platform == "darwin" else peak * 1024)

    return look


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--processes", action="store_true")
    given = parser.parse_args()
    launcher: Launcher = Processes() if given.processes else Instant()
    with tempfile.TemporaryDirectory() as folder:
        outcome, took_s = measure(launcher, "true", given.runs, Path(folder))
    if outcome.counts != {"completed": given.runs}:
        sys.exit(f"not all runs completed: {outcome.counts}")
    growth = (MARKS[-1] - MARKS[0]) / 2**20
    print(
        f"{given.runs} runs in {took_s:.2f} s; {MARKS[-1] / 2**20:.0f} MiB at the end, "
        f"{growth:+.1f} MiB since half of them had ended"
    )


if __name__ == "__main__":
    main()
