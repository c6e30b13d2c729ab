import gc
import threading
from collections.abc import Generator
from contextlib import closing

import numpy as np
import pytest

from ttt_data.loading.batch import Batch
from ttt_data.loading.prefetch import prefetch

WAIT_S = 20


class Steps:
    """Batches that hold their step; records who made them, and fails or waits at a step."""

    def __init__(self, *, fail_at: int | None = None, wait_at: int | None = None) -> None:
        self.fail_at, self.wait_at = fail_at, wait_at
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.reached = threading.Event()

    def batch(self, step: int) -> Batch:
        if step == self.wait_at:
            self.reached.set()
            assert self.go_on.wait(WAIT_S)
        if step == self.fail_at:
            raise OSError(f"no step {step}")
        self.made.append(step)
        self.threads.add(threading.get_ident())
        return Batch(np.array([[step]]), np.array([[step + 1]]))


def take(batches: Generator[Batch], count: int) -> list[int]:
    return [int(next(batches).inputs[0, 0]) for _ in range(count)]


def prefetching_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("ttt-prefetch")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None]:
    yield
    assert prefetching_threads() == []


@pytest.mark.parametrize("depth", [0, 1, 2, 7])
def test_batches_come_in_order_whatever_the_depth(depth: int) -> None:
    with closing(prefetch(Steps(), 3, depth)) as batches:
        assert take(batches, 20) == list(range(3, 23))


def test_one_other_thread_makes_them_all() -> None:
    steps = Steps()
    with closing(prefetch(steps, 0, 4)) as batches:
        take(batches, 10)
        assert len(prefetching_threads()) == 1
    assert len(steps.threads) == 1
    assert threading.get_ident() not in steps.threads


def test_without_depth_there_is_no_thread_and_nothing_is_made_early() -> None:
    steps = Steps()
    with closing(prefetch(steps, 0, 0)) as batches:
        take(batches, 3)
        assert prefetching_threads() == []
    assert steps.threads == {threading.get_ident()}
    assert steps.made == [0, 1, 2]


def test_the_thread_is_ahead_by_the_depth_and_no_more() -> None:
    steps = Steps(wait_at=4)
    with closing(prefetch(steps, 0, 3)) as batches:
        assert take(batches, 2) == [0, 1]
        assert steps.reached.wait(WAIT_S), "step 4 is begun while step 1 is in use"
        steps.go_on.set()
        assert take(batches, 1) == [2]
    assert set(steps.made) <= set(range(6))


@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_is_raised_where_its_batch_is_asked_for(depth: int) -> None:
    batches = prefetch(Steps(fail_at=4), 0, depth)
    assert take(batches, 4) == [0, 1, 2, 3]
    with pytest.raises(OSError, match="no step 4"):
        next(batches)
    assert prefetching_threads() == []
    assert list(batches) == []


def test_closing_waits_for_the_batch_in_hand_only() -> None:
    steps = Steps(wait_at=2)
    batches = prefetch(steps, 0, 50)
    assert take(batches, 1) == [0]
    assert steps.reached.wait(WAIT_S)
    threading.Timer(0.01, steps.go_on.set).start()
    batches.close()
    assert prefetching_threads() == []
    assert steps.made == [0, 1, 2]


def test_a_dropped_iterator_stops_its_thread() -> None:
    batches = prefetch(Steps(), 0, 2)
    take(batches, 1)
    del batches
    gc.collect()
    assert prefetching_threads() == []


def test_an_iterator_that_was_never_used_has_no_thread() -> None:
    batches = prefetch(Steps(), 0, 2)
    assert prefetching_threads() == []
    batches.close()


@pytest.mark.parametrize(("start_step", "depth"), [(-1, 2), (0, -1)])
def test_negative_numbers_are_refused_at_once(start_step: int, depth: int) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        prefetch(Steps(), start_step, depth)
