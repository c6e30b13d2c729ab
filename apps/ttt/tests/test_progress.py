import sys

import pytest

from ttt_cli import progress
from ttt_cli.progress import ProgressLine, duration, megabytes


class Clock:
    now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_file_gets_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(quiet=False) as line:
        for second in range(25):
            clock.now_s = 50 + second
            line.show(f"at {second}")
    assert capsys.readouterr().err == "at 0\nat 10\nat 20\n"


def test_a_terminal_gets_one_line_that_changes(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressLine(quiet=False) as line:
        for text in ("long line", "short"):
            line.show(text)
            line.show("too early")
            clock.now_s += 1
    assert capsys.readouterr().err == "\rlong line\rshort    \n"


def test_who_asks_for_quiet_gets_it(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    del clock
    with ProgressLine(quiet=True) as line:
        line.show("anything")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_are_in_millions_of_bytes() -> None:
    assert megabytes(1_234_567_890) == "1,234.6 MB"
