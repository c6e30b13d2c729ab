"""A state with runs that only pretend to train, and a supervisor for it."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ttt_config import HarnessConfig
from ttt_config.resolve import resolve_as
from ttt_harness.devices import GIB, Device
from ttt_harness.launch.local import LocalLauncher
from ttt_harness.model import Attempt, RunRecord
from ttt_harness.store import Paths, Store
from ttt_harness.supervisor import Happening, Outcome, Supervisor

FAKE_TRAINER = Path(__file__).with_name("fake_trainer.py")
PATIENCE_S = 30.0


class FixedDevices(LocalLauncher):
    """Starts real processes on devices that are made up."""

    def __init__(self, capacities_gib: Sequence[float]) -> None:
        super().__init__()
        self.capacities_gib = list(capacities_gib)
        self.held_by_others_gib = 0.0

    def devices(self, settings: HarnessConfig, reserved: Mapping[str, int]) -> list[Device]:
        del settings, reserved
        return [
            Device(
                name=f"cuda:{number}",
                kind="cuda",
                model="made up",
                capacity_bytes=int((size - self.held_by_others_gib) * GIB),
                limit_bytes=int(size * GIB),
            )
            for number, size in enumerate(self.capacities_gib)
        ]


class Bench:
    """A state with fake runs, and a supervisor for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = Paths(folder / "state.json")
        self.happenings: list[Happening] = []
        self.launcher = FixedDevices([1.0])
        self.trainer = folder / "trainer"
        self.trainer.write_text(f"#!{sys.executable} -S\n{FAKE_TRAINER.read_text()}")
        self.trainer.chmod(0o755)
        self.behaviours: dict[str, list[str]] = {}
        self.store = Store(self.paths.database, create=True)

    def add(self, name: str, *behaviours: str, gib: float = 0.5, **values: Any) -> None:
        """Add a run that behaves so, attempt after attempt."""
        self.behaviours[name] = list(behaviours) or ["ok"]
        (self.folder / "behaviour.json").write_text(json.dumps(self.behaviours))
        record = RunRecord(
            name,
            position=len(self.behaviours),
            out=str(self.folder / name),
            need_bytes=int(gib * GIB),
        )
        self.store.save(record._replace(**values))

    def supervisor(self, **settings: object) -> Supervisor:
        brief = {"retry_backoff_s": 0.0, "settle_grace_s": 0.0, "stop_grace_s": 5.0}
        resolved = resolve_as(HarnessConfig, ("brief", brief), ("test", settings)).config
        return Supervisor(
            self.paths,
            self.store,
            self.launcher,
            resolved,
            [str(self.trainer)],
            self.happenings.append,
        )

    def run(self, **settings: object) -> Outcome:
        """Supervise until nothing is left to do."""
        begun_s = time.monotonic()

        def hurry() -> None:
            assert time.monotonic() - begun_s < PATIENCE_S, self.happenings

        return self.supervisor(**settings).run(hurry)

    def record(self, name: str) -> RunRecord:
        return next(run for run in self.store.runs() if run.name == name)

    def attempts(self, name: str) -> list[Attempt]:
        return self.store.attempts(name)

    def causes(self, name: str) -> list[str]:
        return [attempt.cause for attempt in self.attempts(name)]

    def started(self) -> list[str]:
        return [each.run for each in self.happenings if each.what == "started"]

    def go(self, name: str) -> None:
        """Let a run that waits finish."""
        (self.folder / name / "go").touch()
