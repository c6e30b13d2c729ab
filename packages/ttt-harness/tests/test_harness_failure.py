import json
from pathlib import Path

import pytest

from ttt_harness.failure import backoff_s, explain, read_end, verdict
from ttt_harness.launch.launcher import Ended
from ttt_harness.progress import Follower, Progress, read_tail
from ttt_harness.watchdog import Activity, Observed, update

TRACE = "Traceback (most recent call last):\n"


def report(kind: str, code: int) -> str:
    return json.dumps({"error": {"type": kind, "exit_code": code, "issues": ["why"]}}) + "\n"


@pytest.mark.parametrize(
    ("ended", "stderr", "cause"),
    [
        (Ended(-9), "", "signal"),
        (Ended(-9, out_of_memory=True), "", "out of memory"),
        (Ended(-11), "Fatal Python error: Segmentation fault", "signal"),
        (Ended(None), "", "signal"),
        (Ended(None), TRACE + "KeyError", "crash"),
        (Ended(None), report("NonFiniteError", 7), "not finite"),
        (Ended(None), report("PreemptedError", 75), "signal"),
        (Ended(1), TRACE + "MemoryError", "out of memory"),
        (Ended(1), TRACE + "RuntimeError: [enforce fail] can't allocate memory", "out of memory"),
        (Ended(1), "", "crash"),
        (Ended(7), report("TrainingError", 7), "crash"),
        (Ended(2), "error: No such option: --x", "configuration"),
        (Ended(3), report("ConfigError", 3), "configuration"),
        (Ended(6), report("KernelUnavailableError", 6), "kernel"),
        (Ended(1), '{"error": 3}\n', "crash"),
    ],
)
def test_the_cause_of_an_end(ended: Ended, stderr: str, cause: str) -> None:
    found = explain(ended, stderr, Progress())
    assert found.cause == cause
    assert found.detail


def test_a_stop_that_was_said_is_a_signal() -> None:
    assert explain(Ended(None), TRACE, Progress(ended="stop")).cause == "signal"


def test_back_off_doubles_up_to_an_hour() -> None:
    assert [backoff_s("crash", tries, 10.0) for tries in (0, 1, 2, 99)] == [10, 20, 40, 3600]
    assert backoff_s("signal", 5, 10.0) == 0


def test_what_becomes_of_a_failed_run() -> None:
    assert verdict("crash", 1, 2, "retry") == "retry"
    assert verdict("crash", 2, 2, "retry") == "failed"
    assert verdict("crash", 2, 2, "skip") == "skipped"
    assert verdict("crash", 0, 2, "abort") == "failed"
    assert verdict("not finite", 0, 2, "retry") == "failed"


def test_a_log_is_read_as_it_grows_and_half_a_line_waits(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    follower = Follower(log)
    assert follower.read() == Progress()
    with log.open("a") as file:
        file.write('{"event":"start","steps":9,"tokens_per_step":4}\n--- noise\n{"event":"st')
        file.flush()
        assert follower.read().steps == 9
        assert follower.read().step is None
        file.write('ep","step":3,"loss":2.5,"tokens_per_s":8}\n{"broken\n[1]\n')
    progress = follower.read()
    assert (progress.step, progress.loss, progress.seconds_left) == (3, 2.5, 3.0)
    assert read_tail(log) == progress


def test_the_end_of_a_long_log_tells_as_much_as_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "stdout.log"
    earlier = '{"event":"done","steps":1}\n'
    lines = ['{"event":"start","steps":99999,"tokens_per_step":4}\n']
    lines += [f'{{"event":"step","step":{n},"loss":1.0,"tokens_per_s":8}}\n' for n in range(9999)]
    log.write_text(earlier + "".join(lines))
    tail = read_tail(log, len(earlier))
    assert tail == Follower(log, len(earlier)).read()
    assert (tail.steps, tail.step, tail.ended) == (99999, 9998, None)


def test_the_end_of_a_log_begins_with_its_attempt(tmp_path: Path) -> None:
    log = tmp_path / "stderr.log"
    log.write_text("earlier\nnow\n")
    assert read_end(log, 8) == "now\n"
    assert read_end(tmp_path / "none") == ""


def test_growth_and_progress_are_told_apart() -> None:
    activity = Activity(began=0.0, output=0.0)
    activity = update(activity, Observed(0, None), Observed(5, None), 1.0)
    assert (activity.output, activity.progress) == (1.0, None)
    activity = update(activity, Observed(5, None), Observed(9, (1,)), 2.0)
    assert (activity.output, activity.progress) == (2.0, 2.0)
    assert update(activity, Observed(9, (1,)), Observed(9, (1,)), 3.0) == activity
