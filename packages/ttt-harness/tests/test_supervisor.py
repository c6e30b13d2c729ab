"""Every way an attempt can end, with real processes that only pretend to train."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from harness_bench import Bench

from ttt_harness.process import identify
from ttt_harness.scheduler import needed_bytes
from ttt_harness.store import Store

Until = Callable[[Callable[[], object]], None]


def test_a_run_that_completes(bench: Bench) -> None:
    bench.add("a")
    assert bench.run() == ({"completed": 1}, None)
    record = bench.record("a")
    assert (record.status, record.retries, record.step, record.saved) == ("completed", 0, 4, 4)
    assert bench.causes("a") == ["completed"]
    (attempt,) = bench.attempts("a")
    assert attempt.started <= attempt.ended == record.finished


@pytest.mark.parametrize(
    ("behaviour", "cause", "tries"),
    [
        ("crash", "crash", 3),
        ("out-of-memory", "out of memory", 3),
        ("killed", "signal", 3),
        ("preempted", "signal", 3),
        ("data", "data", 3),
        ("checkpoint", "checkpoint", 3),
        ("not-finite", "not finite", 1),  # the next attempt would end in the same way
        ("configuration", "configuration", 1),
        ("kernel", "kernel", 1),
    ],
)
def test_a_run_that_fails_is_retried_if_that_may_help(
    bench: Bench, behaviour: str, cause: str, tries: int
) -> None:
    bench.add("a", behaviour)
    assert bench.run(max_retries=2).counts == {"failed": 1}
    assert bench.causes("a") == [cause] * tries
    record = bench.record("a")
    assert record.retries == tries - 1
    assert record.reason.startswith(f"{cause}: ")


@pytest.mark.parametrize("behaviour", ["crash", "out-of-memory", "killed", "preempted", "data"])
def test_a_run_that_fails_once_completes(bench: Bench, behaviour: str) -> None:
    bench.add("a", behaviour, "ok")
    assert bench.run().counts == {"completed": 1}
    assert bench.record("a").retries == 1


@pytest.mark.parametrize(
    ("behaviour", "setting"),
    [
        ("hang", {"hang_timeout_s": 0.3}),
        ("silence", {"idle_timeout_s": 0.3}),
        ("slow-start", {"startup_grace_s": 0.3}),
    ],
)
def test_a_watchdog_kills_what_gets_nowhere(
    bench: Bench, behaviour: str, setting: dict[str, float]
) -> None:
    bench.add("a", behaviour, "ok")
    assert bench.run(**setting).counts == {"completed": 1}
    assert bench.causes("a") == [behaviour.replace("-", " "), "completed"]
    first_pid = int((bench.folder / "a" / "pid").read_text())
    assert identify(first_pid) is None


def test_nobody_is_judged_while_runs_settle(bench: Bench) -> None:
    bench.add("a", "silence")
    supervisor = bench.supervisor(idle_timeout_s=0.1, settle_grace_s=1000)
    begun_s = time.monotonic()
    supervisor.run(lambda: supervisor.stop("enough") if time.monotonic() > begun_s + 1 else None)
    assert bench.causes("a") == ["stopped"]


def test_the_time_in_a_queue_is_not_a_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = True
    monkeypatch.setattr(type(bench.launcher), "has_begun", lambda *_: not queued)
    bench.add("a", "silence", "ok")
    supervisor = bench.supervisor(startup_grace_s=0.1, idle_timeout_s=0.1)
    begun, begun_s = time.time(), time.monotonic()

    def turn() -> None:
        nonlocal queued
        if queued and time.monotonic() > begun_s + 1:
            assert bench.record("a").reason == "in the queue"
            queued = False

    assert supervisor.run(turn).counts == {"completed": 1}
    first, _ = bench.attempts("a")
    assert first.cause in {"silence", "slow start"}
    assert first.ended - first.started < 1.0 < first.ended - begun
    assert bench.record("a").reason == ""


def test_retries_wait_longer_each_time(bench: Bench) -> None:
    bench.add("a", "crash")
    bench.run(retry_backoff_s=0.2, max_retries=2)
    first, second, third = bench.attempts("a")
    assert second.started - first.ended >= 0.2
    assert third.started - second.ended >= 0.4


def test_a_killed_run_goes_on_at_once(bench: Bench) -> None:
    bench.add("a", "killed", "ok")
    bench.run(retry_backoff_s=1000)
    assert bench.causes("a") == ["signal", "completed"]


def test_a_run_that_ran_out_of_memory_gets_more_the_next_time(bench: Bench) -> None:
    bench.add("a", "out-of-memory", "ok", gib=0.4)
    bench.run()
    record = bench.record("a")
    assert record.memory_failures == 1
    assert needed_bytes(record, 10 * record.need_bytes) == int(1.5 * record.need_bytes)
    assert needed_bytes(record, record.need_bytes) == record.need_bytes


def test_skip_leaves_a_failure_out(bench: Bench) -> None:
    bench.add("a", "crash")
    bench.add("b")
    assert bench.run(on_failure="skip", max_retries=1).counts == {"skipped": 1, "completed": 1}
    assert bench.causes("a") == ["crash", "crash"]


def test_abort_stops_the_others_in_order(bench: Bench) -> None:
    bench.add("a", "wait", gib=0.5)
    bench.add("b", "not-finite", gib=0.5)
    bench.add("c", gib=1.0)
    outcome = bench.run(on_failure="abort")
    assert outcome.stopped == "`b` failed and on_failure is abort"
    assert [bench.record(name).status for name in "abc"] == ["pending", "failed", "pending"]
    assert bench.causes("a") == ["stopped"]


def test_runs_are_packed_and_the_room_is_used_again_at_once(bench: Bench) -> None:
    for name in "abcd":
        bench.add(name, gib=0.4)
    bench.run()
    attempts = [bench.attempts(name)[0] for name in "abcd"]
    assert bench.started() == ["a", "b", "c", "d"]
    assert sorted(each.ended for each in attempts)[0] <= attempts[2].started


def test_a_run_sees_its_device_and_no_other(bench: Bench) -> None:
    bench.launcher.capacities_gib = [0.5, 0.5]
    bench.add("a", gib=0.4)
    bench.add("b", gib=0.4)
    bench.run(cpu_threads=3)
    seen = [json.loads((bench.folder / name / "environment.json").read_text()) for name in "ab"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in seen] == ["0", "1"]
    assert {each["OMP_NUM_THREADS"] for each in seen} == {"3"}


def test_a_run_that_fits_nowhere_is_given_up_and_takes_along_what_is_behind_it(
    bench: Bench,
) -> None:
    bench.add("a", gib=2.0)
    bench.add("b", after=("a",))
    bench.add("c", after=("b",))
    bench.add("d")
    assert bench.run().counts == {"failed": 1, "skipped": 2, "completed": 1}
    assert "it takes 2.00 GiB, the largest device has 1.00" in bench.record("a").reason
    assert bench.record("c").reason == "`b`, which it comes after, did not complete"


def test_a_run_waits_while_others_hold_the_memory_and_says_so(bench: Bench) -> None:
    bench.add("a", gib=0.5)
    bench.launcher.held_by_others_gib = 0.8
    supervisor = bench.supervisor()
    turns = iter(range(100))
    supervisor.run(lambda: supervisor.stop("enough") if next(turns) == 2 else None)
    assert [(each.run, each.what) for each in bench.happenings] == [("a", "waits")]
    bench.launcher.held_by_others_gib = 0.0
    assert bench.run().counts == {"completed": 1}


def test_runs_start_behind_what_they_come_after(bench: Bench) -> None:
    bench.add("last", after=("first",), priority=5, gib=0.1)
    bench.add("first", gib=0.1)
    bench.run()
    assert bench.started() == ["first", "last"]
    assert bench.attempts("first")[0].ended <= bench.attempts("last")[0].started


def test_higher_priority_starts_first(bench: Bench) -> None:
    for name, priority in (("low", -1), ("middle", 0), ("high", 1)):
        bench.add(name, gib=1.0, priority=priority)
    bench.run()
    assert bench.started() == ["high", "middle", "low"]


def test_no_more_at_once_than_asked_for(bench: Bench) -> None:
    for name in "abc":
        bench.add(name, gib=0.1)
    bench.run(max_parallel=1)
    attempts = [bench.attempts(name)[0] for name in "abc"]
    assert all(a.ended <= b.started for a, b in pairwise(attempts))


@pytest.mark.parametrize("behaviour", ["leaves-a-child", "killed-with-a-child"])
def test_nothing_of_an_attempt_is_left_behind(bench: Bench, behaviour: str, until: Until) -> None:
    bench.add("a", behaviour, "ok")
    bench.run()
    child = int((bench.folder / "a" / "child").read_text())
    until(lambda: identify(child) is None)


def test_a_retry_goes_on_where_the_run_was(bench: Bench) -> None:
    bench.add("a", "save-then-crash", "ok")
    bench.run()
    lines = (bench.folder / "a" / "stdout.log").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    assert [event["step"] for event in log if event["event"] == "step"] == [1, 2, 3, 4]
    assert bench.record("a").saved == 4


def test_a_trainer_that_cannot_start_is_a_crash_with_a_reason(bench: Bench) -> None:
    bench.add("a")
    bench.trainer.unlink()
    assert bench.run(max_retries=1).counts == {"failed": 1}
    assert bench.record("a").reason.startswith("crash: cannot start ")
    assert bench.causes("a") == ["crash", "crash"]


def test_a_directory_with_another_run_is_not_touched(bench: Bench) -> None:
    bench.add("a")
    (bench.folder / "a").mkdir()
    (bench.folder / "a" / "run.json").write_text("{}")
    assert bench.run().counts == {"failed": 1}
    assert "holds a run.json that this harness did not begin" in bench.record("a").reason
    assert sorted(path.name for path in (bench.folder / "a").iterdir()) == ["run.json"]


def test_a_request_stops_a_run_for_good(bench: Bench, until: Until) -> None:
    bench.add("a", "wait")
    bench.add("b", "wait", gib=1.0)
    thread = ask_later(bench, until, "stop", "a", "b")
    outcome = bench.run()
    thread.join()
    assert outcome.counts == {"stopped": 2}
    assert bench.causes("a") == ["stopped"]
    assert bench.causes("b") == []  # it was waiting
    assert bench.run().counts == {"stopped": 2}
    assert bench.store.requests() == []


def test_a_run_that_ignores_the_request_is_killed(bench: Bench, until: Until) -> None:
    bench.add("a", "stubborn")
    thread = ask_later(bench, until, "stop", "a")
    assert bench.run(stop_grace_s=0.2).counts == {"stopped": 1}
    thread.join()


def ask_later(bench: Bench, until: Until, kind: Literal["stop"], *names: str) -> threading.Thread:
    """Leave a request, as another process would, once the first run has taken a step."""

    def ask() -> None:
        log = bench.folder / names[0] / "stdout.log"
        until(lambda: log.exists() and '"step"' in log.read_text())
        with Store(bench.paths.database) as store:
            store.ask(kind, names)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_an_interrupted_supervisor_lets_runs_save_and_goes_on_later(bench: Bench) -> None:
    bench.add("a", "wait", "ok")
    supervisor = bench.supervisor()
    log = bench.folder / "a" / "stdout.log"
    supervisor.run(lambda: supervisor.stop("Ctrl-C") if '"step"' in read(log) else None)
    record = bench.record("a")
    assert (record.status, record.retries, record.reason) == ("pending", 0, "Ctrl-C")
    assert bench.run().counts == {"completed": 1}


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_the_export_is_the_file_of_ttt_rs(bench: Bench) -> None:
    bench.add("a", "crash", "ok")
    bench.add("b", "not-finite")
    bench.run()
    state = json.loads(bench.paths.export.read_text())
    assert state["version"] == 1
    assert {name: run["status"] for name, run in state["runs"].items()} == {
        "a": "completed",
        "b": "failed",
    }
    assert state["runs"]["a"]["retry_count"] == 1
    assert state["runs"]["b"]["errors"] == ["not finite: step 3: the loss is nan"]
    time.strptime(state["runs"]["a"]["finished_at"], "%Y-%m-%d %H:%M:%S")


def test_peaks_of_runs_are_kept(bench: Bench) -> None:
    bench.add("a", shape="x", estimate_bytes=1000)
    bench.run()
    assert bench.store.peaks() == [("x", "cuda", 1000, 4 << 20)]


def test_a_signal_to_the_group_of_a_dead_leader_is_no_signal(bench: Bench) -> None:
    bench.add("a")
    bench.run()
    bench.launcher.signal(json.dumps([os.getpid(), "0", "another boot"]), signal.SIGKILL)
