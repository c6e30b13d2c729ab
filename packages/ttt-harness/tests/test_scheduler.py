"""What starts next: a function of what is known."""

from hypothesis import given
from hypothesis import strategies as st

from ttt_harness.devices import Device
from ttt_harness.model import RunRecord, RunStatus
from ttt_harness.scheduler import GiveUp, Scheduler, Start, next_moment, ready

NAMES = "abcdefgh"
STATUSES: list[RunStatus] = ["pending", "pending", "running", "completed", "failed"]


def devices_of(*sizes: int) -> list[Device]:
    return [Device(f"cuda:{n}", "cuda", "", size, size) for n, size in enumerate(sizes)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[RunRecord], list[Device]]:
    devices = devices_of(*draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)))
    runs = []
    for position, name in enumerate(NAMES[: draw(st.integers(1, 8))]):
        status: RunStatus = draw(st.sampled_from(STATUSES))
        need = draw(st.integers(0, 25))
        runs.append(
            RunRecord(
                name,
                position=position,
                priority=draw(st.integers(-1, 1)),
                after=tuple(draw(st.sets(st.sampled_from(NAMES[:position])))) if position else (),
                need_bytes=need,
                status=status,
                device=draw(st.sampled_from(devices)).name if status == "running" else "",
                reserved_bytes=need if status == "running" else 0,
                not_before=draw(st.sampled_from([0.0, 50.0, 150.0])),
                memory_failures=draw(st.integers(0, 2)),
            )
        )
    return runs, devices


@given(situations(), st.none() | st.integers(1, 3))
def test_nothing_is_promised_twice_and_nothing_starts_that_must_wait(
    situation: tuple[list[RunRecord], list[Device]], max_parallel: int | None
) -> None:
    runs, devices = situation
    known = {run.name: run for run in runs}
    actions = list(Scheduler(max_parallel).decide(runs, devices, now=100.0))
    assert len({action.name for action in actions}) == len(actions)
    starts = [action for action in actions if isinstance(action, Start)]
    for start in starts:
        run = known[start.name]
        assert run.status == "pending"
        assert run.not_before <= 100
        assert all(known[name].status == "completed" for name in run.after)
    if max_parallel is not None and starts:
        active = sum(run.status == "running" for run in runs)
        assert active + len(starts) <= max_parallel
    for device in devices:
        new = sum(start.reserved_bytes for start in starts if start.device == device)
        held = sum(run.reserved_bytes for run in runs if run.device == device.name)
        assert not new or held + new <= device.capacity_bytes


@given(situations())
def test_what_is_behind_a_lost_run_is_given_up_and_nothing_else(
    situation: tuple[list[RunRecord], list[Device]],
) -> None:
    runs, devices = situation
    given_up = {
        action.name
        for action in Scheduler().decide(runs, devices, now=100.0)
        if isinstance(action, GiveUp)
    }
    largest = max(device.limit_bytes for device in devices)
    lost = {run.name for run in runs if run.status == "failed"}
    for run in runs:  # each is behind earlier ones only
        if run.status == "pending" and (run.need_bytes > largest or lost & set(run.after)):
            lost.add(run.name)
    assert given_up == {run.name for run in runs if run.status == "pending"} & lost


@given(situations())
def test_an_idle_machine_begins_something_if_anything_can_be_begun(
    situation: tuple[list[RunRecord], list[Device]],
) -> None:
    runs, devices = situation
    runs = [run._replace(status="pending", not_before=0.0, reserved_bytes=0) for run in runs]
    actions = list(Scheduler().decide(runs, devices, now=100.0))
    assert actions
    assert ready({run.name: run for run in runs})


def test_small_runs_pass_a_large_one_that_must_wait() -> None:
    runs = [
        RunRecord("running", status="running", device="cuda:0", reserved_bytes=6),
        RunRecord("large", position=1, need_bytes=8),
        RunRecord("small", position=2, need_bytes=3),
    ]
    (start,) = Scheduler().decide(runs, devices_of(10), now=0.0)
    assert start.name == "small"


def test_the_first_device_with_room_is_taken() -> None:
    runs = [RunRecord(name, position=n, need_bytes=6) for n, name in enumerate("abc")]
    starts = list(Scheduler().decide(runs, devices_of(10, 11, 5), now=0.0))
    assert [(start.name, start.device.name) for start in starts if isinstance(start, Start)] == [
        ("a", "cuda:0"),
        ("b", "cuda:1"),
    ]


def test_runs_of_an_earlier_file_are_not_begun() -> None:
    runs = [RunRecord("a", planned=False)]
    assert list(Scheduler().decide(runs, devices_of(1), now=0.0)) == []
    assert not ready({"a": runs[0]})


def test_the_next_moment_is_that_of_the_first_retry() -> None:
    runs = [
        RunRecord(name, not_before=moment) for name, moment in zip("ab", (9.0, 4.0), strict=True)
    ]
    assert next_moment(runs) == 4.0
    assert next_moment([]) is None
