"""The loop that keeps runs going: it begins them, watches them, and writes down what it does.

What is decided is written before it is done, so that whoever comes after a kill knows what to look
for. The state in memory is that of the file: this process is its only writer.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ttt_config import ConfigError, HarnessConfig
from ttt_harness import attempt
from ttt_harness.claim import claim_directory
from ttt_harness.devices import kind_of
from ttt_harness.export import write_export
from ttt_harness.launch.launcher import Ended, Launcher
from ttt_harness.launch.names import STDERR_NAME, STDOUT_NAME
from ttt_harness.model import ACTIVE, Cause, Peak, RunRecord
from ttt_harness.progress import Follower
from ttt_harness.reset import renewed
from ttt_harness.scheduler import GiveUp, Scheduler, Start, next_moment, ready
from ttt_harness.store import Paths, Request, Store
from ttt_harness.watchdog import Activity, Observed, judge, update

if TYPE_CHECKING:
    from ttt_harness.devices import Device

TICK_S = 0.5
_DEVICES_EVERY_S = 30.0
_EXPORT_EVERY_S = 1.0
_QUEUED = "in the queue"


class Outcome(NamedTuple):
    """How things stood when the supervisor ended."""

    counts: dict[str, int]
    """Runs of the plan by status."""
    stopped: str | None
    """Why it ended before all was done."""


class Happening(NamedTuple):
    """Something to tell."""

    run: str
    what: str
    detail: str = ""


class _Watch:
    """What is known of an attempt while it goes on; forgotten with it, or with the supervisor."""

    def __init__(self, run: RunRecord, now_s: float) -> None:
        out = Path(run.out)
        self.logs = (out / STDOUT_NAME, out / STDERR_NAME)
        self.follower = Follower(self.logs[0], run.log_start)
        self.activity = Activity(began=now_s, output=now_s)
        self.observed = Observed(0, None)
        self.killed: Cause | None = None
        self.asked: str | None = None
        self.kill_at_s: float | None = None
        """When it is killed, if it has not ended by then."""


class Supervisor:
    """Keeps the runs of a state going.

    Args:
        paths: of the state.
        store: open; this process holds its lock.
        launcher: what starts attempts.
        settings: of the harness file.
        trainer: command that `train ...` is added to.
        tell: told what happens.
    """

    def __init__(
        self,
        paths: Paths,
        store: Store,
        launcher: Launcher,
        settings: HarnessConfig,
        trainer: Sequence[str],
        tell: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        self.runs = {run.name: run for run in store.runs()}
        self._paths, self._store, self._launcher = paths, store, launcher
        self._settings, self._trainer, self._tell = settings, tuple(trainer), tell
        self._watches: dict[str, _Watch] = {}
        self._devices: list[Device] = []
        self._devices_s = self._exported_s = float("-inf")
        self._settled_s = time.monotonic() + settings.settle_grace_s
        self._stopping: str | None = None
        self._held_up = False

    def run(self, on_turn: Callable[[], None] = lambda: None) -> Outcome:
        """Work until nothing is left that could be done.

        Args:
            on_turn: called once in each turn of the loop.
        """
        self._recover()
        while self._turn():
            on_turn()
        self._export()
        on_turn()
        planned = [run for run in self.runs.values() if run.planned]
        counts = Counter[str](run.status for run in planned)
        return Outcome(dict(counts), self._stopping)

    def heed_requests(self) -> None:
        """Only do what is asked for, for want of a supervisor that goes on."""
        self._recover()
        while self._store.requests():
            self._heed_requests()
            for run in self.active:
                self._look_at(run)
            self._launcher.wait([run.handle for run in self.active], TICK_S)
        self._export()

    def stop(self, reason: str) -> None:
        """Start nothing more, let what runs save and end, and then come back."""
        self._stopping = self._stopping or reason

    @property
    def active(self) -> list[RunRecord]:
        """The runs that an attempt goes on at."""
        return [run for run in self.runs.values() if run.status in ACTIVE]

    def _turn(self) -> bool:
        """One look at everything; False if nothing is left to be done."""
        self._heed_requests()
        for run in self.active:
            self._look_at(run)
        if self._stopping is None:
            self._place()
        else:
            for run in self.active:
                self._ask_to_stop(run, self._stopping)
        if time.monotonic() - self._exported_s > _EXPORT_EVERY_S:
            self._export()
        active = self.active
        if not active and (self._stopping is not None or not ready(self.runs)):
            return False
        moment = next_moment(self.runs.values())
        wait_s = TICK_S if moment is None else min(TICK_S, max(0.0, moment - time.time()))
        self._launcher.wait([run.handle for run in active], wait_s)
        return True

    def _recover(self) -> None:
        """Find out what became of the attempts that an earlier supervisor left."""
        for run in self.active:
            handle = run.handle or self._launcher.find(run.token, Path(run.out))
            if handle is None and _has_spoken(run):  # begun, and over before we looked
                self._conclude(run, Ended(None))
                continue
            if handle is None:
                self._save(run._replace(status="pending", attempt=run.attempt - 1, device=""))
                self._tell(Happening(run.name, "not begun", "the harness was killed before"))
                continue
            self._save(run._replace(status="running", handle=handle))
            if self._launcher.poll(handle, run.token) is None:
                self._tell(Happening(run.name, "adopted", f"attempt {run.attempt} goes on"))

    def _place(self) -> None:
        """Start what fits, give up what cannot be done."""
        if not ready(self.runs, time.time()):
            return
        if time.monotonic() - self._devices_s > _DEVICES_EVERY_S:
            reserved: Counter[str] = Counter()
            for run in self.active:
                reserved[run.device] += run.reserved_bytes
            self._devices = self._launcher.devices(self._settings, reserved)
            self._devices_s = time.monotonic()
        scheduler = Scheduler(self._settings.max_parallel)
        actions = list(scheduler.decide(self.runs.values(), self._devices, time.time()))
        self._tell_if_held_up(actions)
        for action in actions:
            if isinstance(action, Start):
                self._start(action)
            else:
                self._give_up(action)

    def _tell_if_held_up(self, actions: Sequence[object]) -> None:
        """Say, once, that nothing can start though no run of ours is in the way."""
        held_up = not actions and not self.active
        if held_up and not self._held_up:
            for run in self.runs.values():
                if ready({run.name: run._replace(after=())}, time.time()):
                    self._tell(Happening(run.name, "waits", "others hold the memory it needs"))
        self._held_up = held_up

    def _give_up(self, action: GiveUp) -> None:
        skipped = action.skipped or self._settings.on_failure == "skip"
        status = "skipped" if skipped else "failed"
        self._save(self.runs[action.name]._replace(status=status, reason=action.reason))
        self._tell(Happening(action.name, status, action.reason))

    def _start(self, start: Start) -> None:
        run = self.runs[start.name]
        try:
            claim_directory(Path(run.out), self._store.id, run.name)
        except ConfigError as error:
            self._give_up(GiveUp(run.name, f"configuration: {error}", skipped=False))
            self._end_if_asked_by_policy()
            return
        run = self._save(attempt.decided(run, start, time.time()))
        try:
            order = attempt.order(run, start, self._trainer, self._settings)
            handle = self._launcher.start(order)
        except OSError as error:
            self._conclude(run, Ended(None), f"cannot start {self._trainer[0]}: {error}")
            return
        self._save(run._replace(status="running", handle=handle))
        self._settled_s = time.monotonic() + self._settings.settle_grace_s
        retry = f", retry {run.retries}" if run.retries else ""
        self._tell(Happening(run.name, "started", f"on {run.device}{retry}"))

    def _look_at(self, run: RunRecord) -> None:
        """See whether an attempt has ended, and else whether it still gets anywhere."""
        now_s = time.monotonic()
        watch = self._watches.setdefault(run.name, _Watch(run, now_s))
        ended = self._launcher.poll(run.handle, run.token)
        progress = watch.follower.read()
        if ended is not None:
            self._conclude(run._replace(reason=""), ended)
            return
        run = self._heed_queue(run, watch, now_s)
        self.runs[run.name] = run._replace(
            steps=progress.steps or run.steps,
            step=progress.step if progress.step is not None else run.step,
            saved=progress.saved if progress.saved is not None else run.saved,
        )
        moved = progress.step != progress.resumed_from
        mark = (progress.step, progress.saved) if moved else None
        observed = Observed(sum(_size(log) for log in watch.logs), mark)
        watch.activity = update(watch.activity, watch.observed, observed, now_s)
        watch.observed = observed
        if watch.killed is None and watch.asked is None:
            watch.killed = judge(
                watch.activity, self._settings, now_s=now_s, settled_s=self._settled_s
            )
            if watch.killed is not None:
                self._launcher.signal(run.handle, signal.SIGKILL)
        if watch.kill_at_s is not None and now_s > watch.kill_at_s:
            self._launcher.signal(run.handle, signal.SIGKILL)

    def _heed_queue(self, run: RunRecord, watch: _Watch, now_s: float) -> RunRecord:
        """Let the clock of an attempt stand still while it waits in a queue."""
        if not self._launcher.has_begun(run.handle):
            watch.activity = Activity(began=now_s, output=now_s)
            return run if run.reason else self._save(run._replace(reason=_QUEUED))
        if run.reason == _QUEUED:
            return self._save(run._replace(reason="", started=time.time()))
        return run

    def _ask_to_stop(self, run: RunRecord, reason: str) -> None:
        watch = self._watches.setdefault(run.name, _Watch(run, time.monotonic()))
        if watch.asked is None:
            watch.asked = reason
            watch.kill_at_s = time.monotonic() + self._settings.stop_grace_s
            self._launcher.signal(run.handle, signal.SIGTERM)

    def _conclude(self, run: RunRecord, ended: Ended, problem: str | None = None) -> None:
        """Write down how an attempt ended and what becomes of the run."""
        watch = self._watches.pop(run.name, None) or _Watch(run, time.monotonic())
        progress = watch.follower.read()
        done = attempt.conclude(
            run,
            ended,
            progress,
            self._settings,
            now=time.time(),
            killed=watch.killed,
            asked=watch.asked,
            problem=problem,
        )
        self.runs[run.name] = done.run
        self._store.save(done.run, attempt=done.attempt)
        if watch.asked == "stopped":
            self._store.fulfil(Request(run.name, "stop"))
        if progress.peak_memory_bytes:
            kind = kind_of(run.device)
            self._store.record_peak(
                Peak(run.shape, kind, run.estimate_bytes, progress.peak_memory_bytes)
            )
        what = "will be retried" if done.run.status == "pending" else done.run.status
        self._tell(Happening(run.name, what, done.run.reason))
        self._end_if_asked_by_policy()

    def _end_if_asked_by_policy(self) -> None:
        if self._settings.on_failure == "abort":
            failed = next((run for run in self.runs.values() if run.status == "failed"), None)
            if failed is not None:
                self.stop(f"`{failed.name}` failed and on_failure is abort")

    def _heed_requests(self) -> None:
        """Do what `ttt-harness stop` and `reset` ask for."""
        for request in self._store.requests():
            run = self.runs.get(request.run)
            if run is not None and run.status in ACTIVE:
                if request.kind == "stop":
                    self._ask_to_stop(run, "stopped")
                    continue  # until it has ended
            elif run is not None and request.kind == "stop" and run.status == "pending":
                self._save(run._replace(status="stopped", reason="stopped"))
                self._tell(Happening(run.name, "stopped"))
            elif run is not None and request.kind == "reset":
                for changed in renewed(self.runs, [run.name]):
                    self._save(changed)
                self._tell(Happening(run.name, "reset"))
            self._store.fulfil(request)

    def _save(self, run: RunRecord) -> RunRecord:
        self._store.save(run)
        self.runs[run.name] = run
        return run

    def _export(self) -> None:
        pids = {run.name: _pid(run.handle) for run in self.active}
        write_export(self._paths.export, self.runs.values(), pids)
        self._exported_s = time.monotonic()


def _pid(handle: str) -> int | None:
    """The pid in the handle of the launcher `local`; None in those of others."""
    try:
        return int(json.loads(handle)[0])
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _has_spoken(run: RunRecord) -> bool:
    """Whether the last attempt at a run has written anything."""
    out = Path(run.out)
    return _size(out / STDOUT_NAME) > run.log_start or _size(out / STDERR_NAME) > run.error_start


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
