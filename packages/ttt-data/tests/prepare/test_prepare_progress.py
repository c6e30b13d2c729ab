"""What a preparation tells while it goes on."""

import numpy as np
import pytest

from ttt_data.batches import EncodedBatch
from ttt_data.prepare import Progress, progress
from ttt_data.prepare.progress import Meter
from ttt_data.prepare.workload import Estimate, Pass
from ttt_data.readers import open_source


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def batch(documents: int, text_bytes: int, tokens: int) -> EncodedBatch:
    sizes = [text_bytes // documents] * documents
    return EncodedBatch(np.zeros(tokens, dtype=np.uint16), [0] * documents, sizes)


@pytest.fixture
def meter(clock: Clock) -> tuple[Meter, list[Progress]]:
    del clock  # it must be in place before the meter is made
    told: list[Progress] = []
    passes = [Pass(0, "val", 100), Pass(0, "train", 900)]
    return Meter(Estimate([open_source("chronicles")], passes), told.append), told


Metered = tuple[Meter, list[Progress]]


def test_speed_and_time_left_follow_from_the_clock(meter: Metered, clock: Clock) -> None:
    meter_, told = meter
    meter_.begin_pass("somewhere", "val")
    clock.now_s += 2
    meter_.add(batch(5, 1000, 400))
    assert told[-1] == Progress(
        source="somewhere",
        split="val",
        documents=5,
        text_bytes=1000,
        tokens=400,
        total_bytes=None,
        elapsed_s=2,
        bytes_per_s=500,
        tokens_per_s=200,
        eta_s=None,
    )
    meter_.end_pass()
    meter_.begin_pass("somewhere", "train")
    clock.now_s += 1
    meter_.add(batch(10, 3000, 1000))
    assert (told[-1].total_bytes, told[-1].text_bytes) == (10_000, 4000)
    assert told[-1].bytes_per_s == pytest.approx(4000 / 3)
    assert told[-1].eta_s == pytest.approx(6000 / 3000), "at the speed of this pass"


def test_documents_stored_earlier_count_but_do_not_speed_it_up(
    meter: Metered, clock: Clock
) -> None:
    meter_, told = meter
    meter_.begin_pass("somewhere", "val")
    meter_.keep(1000)
    meter_.end_pass()
    meter_.begin_pass("somewhere", "train")
    for _ in range(4):
        clock.now_s += 1
        meter_.keep(1000)
    clock.now_s += 2
    meter_.add(batch(1, 1000, 300))
    assert (told[-1].documents, told[-1].text_bytes, meter_.kept_documents) == (6, 6000, 5)
    assert told[-1].eta_s == pytest.approx(4000 / 500)
    assert told[-1].bytes_per_s == pytest.approx(1000 / 6)


def test_more_text_than_expected_leaves_no_time(meter: Metered, clock: Clock) -> None:
    meter_, told = meter
    meter_.begin_pass("somewhere", "val")
    meter_.keep(100)
    meter_.end_pass()
    meter_.begin_pass("somewhere", "train")
    clock.now_s += 1
    meter_.add(batch(1, 2000, 1))
    assert (told[-1].total_bytes, told[-1].eta_s) == (2100, 0)


def test_nobody_need_listen(clock: Clock) -> None:
    meter = Meter(Estimate([open_source("chronicles")], [Pass(0, "train", 1)]), None)
    meter.begin_pass("somewhere", "train")
    clock.now_s += 1
    meter.add(batch(1, 1, 1))
    assert (meter.documents, meter.elapsed_s) == (1, 1)
