"""What a harness finds that was killed: by the state it left, and by what goes on."""

import json
import os
import signal
from collections.abc import Callable

import pytest
from harness_bench import Bench, FixedDevices

from ttt_harness.locks import FileLock, SupervisorLock
from ttt_harness.model import RunRecord
from ttt_harness.process import Identity, identify
from ttt_harness.store import Store

Until = Callable[[Callable[[], object]], None]


def abandon(bench: Bench, *, when: Callable[[], object]) -> None:
    """Leave a supervisor's loop as a kill does, with nothing tidied up."""

    class KilledError(Exception):
        pass

    def kill() -> None:
        if when():
            raise KilledError

    with pytest.raises(KilledError):
        bench.supervisor().run(kill)
    bench.launcher = FixedDevices([1.0])  # that of another process, which knows no children
    bench.happenings.clear()


def has_step(bench: Bench, name: str) -> bool:
    log = bench.folder / name / "stdout.log"
    return log.exists() and '"step"' in log.read_text()


def test_a_run_that_goes_on_is_adopted(bench: Bench) -> None:
    bench.add("a", "wait")
    abandon(bench, when=lambda: has_step(bench, "a"))
    pid = (bench.folder / "a" / "pid").read_text()
    bench.go("a")
    assert bench.run().counts == {"completed": 1}
    assert bench.happenings[0].what in {"adopted", "completed"}
    assert (bench.folder / "a" / "pid").read_text() == pid
    assert bench.causes("a") == ["completed"]
    assert bench.record("a").retries == 0


def test_what_an_adopted_run_holds_is_not_given_away(bench: Bench) -> None:
    bench.add("a", "wait", gib=0.8)
    bench.add("b", gib=0.8)
    abandon(bench, when=lambda: has_step(bench, "a"))
    supervisor = bench.supervisor()
    turns = iter(range(100))

    def turn() -> None:
        if next(turns) == 2:
            assert bench.started() == []
            bench.go("a")

    assert supervisor.run(turn).counts == {"completed": 2}


def test_a_run_that_died_meanwhile_goes_on_as_a_retry(bench: Bench, until: Until) -> None:
    bench.add("a", "wait", "ok")
    abandon(bench, when=lambda: has_step(bench, "a"))
    pid = int((bench.folder / "a" / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: identify(pid) is None)
    assert bench.run().counts == {"completed": 1}
    assert bench.causes("a") == ["signal", "completed"]
    assert bench.record("a").retries == 1


def test_a_run_that_completed_meanwhile_is_not_done_again(bench: Bench, until: Until) -> None:
    bench.add("a", "wait")
    abandon(bench, when=lambda: has_step(bench, "a"))
    pid = int((bench.folder / "a" / "pid").read_text())
    bench.go("a")
    until(lambda: identify(pid) is None)
    assert bench.run().counts == {"completed": 1}
    assert (bench.folder / "a" / "history").read_text() == "wait\n"


@pytest.mark.parametrize(
    ("behaviour", "cause"), [("crash", "crash"), ("not-finite", "not finite"), ("data", "data")]
)
def test_why_an_adopted_run_failed_is_read_from_what_it_said(
    bench: Bench, until: Until, behaviour: str, cause: str
) -> None:
    bench.add("a", behaviour)
    abandon(bench, when=(bench.folder / "a" / "pid").exists)
    pid = int((bench.folder / "a" / "pid").read_text())
    until(lambda: identify(pid) is None)
    bench.run(max_retries=0)
    assert bench.causes("a") == [cause]


def test_a_start_that_was_written_down_and_done_is_found(bench: Bench) -> None:
    bench.add("a", "wait")
    abandon(bench, when=lambda: has_step(bench, "a"))
    bench.store.save(bench.record("a")._replace(status="starting", handle=""))
    bench.go("a")
    assert bench.run().counts == {"completed": 1}
    assert (bench.folder / "a" / "history").read_text() == "wait\n"


def test_a_start_that_was_written_down_done_and_is_over_is_not_done_again(
    bench: Bench, until: Until
) -> None:
    bench.add("a", "wait")
    abandon(bench, when=lambda: has_step(bench, "a"))
    bench.store.save(bench.record("a")._replace(status="starting", handle=""))
    pid = int((bench.folder / "a" / "pid").read_text())
    bench.go("a")
    until(lambda: identify(pid) is None)
    assert bench.run().counts == {"completed": 1}
    assert bench.causes("a") == ["completed"]
    assert (bench.folder / "a" / "history").read_text() == "wait\n"


def test_a_start_that_was_written_down_and_not_done_is_done(bench: Bench) -> None:
    bench.add("a", status="starting", attempt=1)
    (bench.folder / "a").mkdir()
    assert bench.run().counts == {"completed": 1}
    assert bench.causes("a") == ["completed"]
    assert bench.record("a").retries == 0


def test_a_pid_of_somebody_else_is_not_taken_for_a_run(bench: Bench) -> None:
    me = identify(os.getpid())
    assert me is not None
    for other in (me._replace(started="1"), me._replace(boot="another")):
        handle = json.dumps(other)
        bench.launcher.signal(handle, signal.SIGKILL)  # which would end the tests
        bench.add("a", status="running", attempt=1, handle=handle)
        assert bench.run().counts == {"completed": 1}


def test_a_dead_process_is_nobody(until: Until) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    until(lambda: identify(pid) is None)  # what is left of it is no process
    os.waitpid(pid, 0)
    assert not Identity(pid, "0", "0").is_alive()


def test_a_lock_is_held_by_who_inherits_it(bench: Bench) -> None:
    bench.add("a", "wait")
    abandon(bench, when=lambda: has_step(bench, "a"))
    lock = FileLock(bench.folder / "a" / "harness.lock")
    assert not lock.acquire()
    bench.go("a")
    bench.run()
    assert lock.acquire()
    lock.release()


def test_one_supervisor_at_a_time(bench: Bench) -> None:
    first, second = (SupervisorLock(bench.paths.database) for _ in range(2))
    assert first.holder() is None
    assert first.acquire()
    assert not second.acquire()
    holder = second.holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    first.release()
    assert second.holder() is None
    assert second.acquire()
    second.release()


def test_a_transaction_is_whole_or_absent(bench: Bench) -> None:
    bench.add("a")

    def fail() -> None:
        with bench.store.transaction() as execute:
            execute("DELETE FROM runs")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [run.name for run in bench.store.runs()] == ["a"]


def test_records_come_back_as_they_were_written(bench: Bench) -> None:
    record = RunRecord("x", 3, False, -2, ("y", "z"), "out", "lr = 1", "shape", 5, 6, finished=1.5)
    bench.store.save(record)
    with Store(bench.paths.database) as other:
        assert other.runs() == [record]
