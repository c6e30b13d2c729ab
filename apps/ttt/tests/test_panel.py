"""Law: the panel shows the last record, and the terminal is sane after it, however a run ends."""

import fcntl
import io
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import pytest
from rich.console import Console

from ttt_cli.options import Common
from ttt_cli.panel import TrainPanel, sparkline
from ttt_cli.train_report import Lines, reporting
from ttt_training.events import (
    CheckpointSaved,
    EvalRecord,
    RunStarted,
    RunWarning,
    StepRecord,
    TrainResult,
)

START = RunStarted(
    out="runs/[a]",
    documents=1,
    tokens=10,
    text_bytes=10,
    tokenizer="bytes",
    vocab_size=259,
    model="linear",
    parameters=5,
    device="cpu",
    kernel="reference (the fastest that can)",
    steps=300,
    tokens_per_step=2048,
    unigram_entropy=6.0,
)
STEP = StepRecord(
    step=10,
    loss=6.5,
    lr=1e-3,
    grad_norm=0.9,
    tokens=20_480,
    tokens_per_s=1024.0,
    data_time_s=0.0002,
    peak_memory_bytes=3 << 29,
)
EVAL = EvalRecord(
    step=10,
    val_loss=6.0,
    val_loss_error=0.02,
    val_ppl=403.4,
    val_bpb=2.4,
    inner_loss_before=43.7,
    inner_loss_after=42.006,
)
RESULT = TrainResult(
    out="runs/[a]",
    checkpoint="c",
    steps=300,
    val_loss=5.0,
    val_ppl=148.4,
    val_bpb=2.0,
    unigram_entropy=6.0,
    inner_loss_before=None,
    inner_loss_after=None,
)
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"

Screen = tuple[TrainPanel, io.StringIO]


def console(file: IO[str]) -> Console:
    return Console(file=file, force_terminal=True, width=90, markup=False, highlight=False)


@pytest.fixture
def screen() -> Screen:
    """A panel, and what it has written."""
    file = io.StringIO()
    return TrainPanel(console(file)), file


def last_frame(text: str) -> str:
    """The panel as it stands, without its frame and colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text[text.rindex("╭") : text.rindex("╯")])


def test_the_panel_shows_the_last_records(screen: Screen) -> None:
    panel, written = screen
    with panel:
        for event in (START, STEP, EVAL, msgspec.structs.replace(STEP, loss=math.nan)):
            panel(event)
        panel(msgspec.structs.replace(STEP, step=20, loss=5.0))
    frame = last_frame(written.getvalue())
    for shown in [
        "─ runs/[a] ─",
        "step 20/300",
        "ETA 4m40s",
        "loss       5.0000  █▁",
        "lr         1.00e-03",
        "grad norm  0.900",
        "tokens/s   1,024",
        "data wait  0.2 ms a step",
        "memory     1.50 GiB",
        "val loss   6.0000 +- 0.0200  (step 10)",
        "perplexity 403.40",
        "inner loss 43.70 -> 42.01",
    ]:
        assert shown in frame


def test_figures_that_are_not_there_yet_are_dashes(screen: Screen) -> None:
    panel, written = screen
    with panel:
        panel(START)
    frame = last_frame(written.getvalue())
    assert re.search(r"step 0/300 ETA - ", frame)
    assert re.search(r"val loss +- .*perplexity +- ", frame)


def test_lasting_news_are_whole_lines_above_the_panel(screen: Screen) -> None:
    panel, written = screen
    saved = CheckpointSaved(step=10, path="runs/" + "long/" * 30)
    with panel:
        for event in (START, STEP, saved, RunWarning(step=10, message="[bold]odd")):
            panel(event)
        panel(RESULT)
    text = written.getvalue()
    assert f"saved {saved.path}\n" in text
    assert "warning: [bold]odd\n" in text
    assert text.index("tokenizer  bytes") < text.index(HIDE)
    assert text.rindex("val loss    5.0000 nats a token") > text.rindex(SHOW)
    assert "╭" not in text[text.rindex(SHOW) :]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_gives_the_cursor_back(screen: Screen, error: type[BaseException]) -> None:
    panel, written = screen

    def fail() -> None:
        with panel:
            panel(START)
            panel(STEP)
            raise error

    with pytest.raises(error):
        fail()
    assert written.getvalue().rindex(SHOW) > written.getvalue().rindex(HIDE)


def test_ctrl_z_leaves_the_terminal_to_the_shell_until_the_run_goes_on(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, written = screen
    seen: list[str] = []
    monkeypatch.setattr(signal, "raise_signal", lambda _: seen.append(written.getvalue()))
    with panel:
        panel(START)
        panel(STEP)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTSTP)
        panel(msgspec.structs.replace(STEP, step=20))
    for before in seen:
        assert before.rindex(SHOW) > before.rindex(HIDE)
    assert len(seen) == 2
    again = written.getvalue()[len(seen[-1]) :]
    assert again.index(HIDE) < again.index("step 10/300") < again.index("step 20/300")
    assert "\x1b[1A" not in again[: again.index("step 10/300")], "the shell's lines stay"
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL


def test_a_terminal_of_another_encoding_gets_another_curve() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    panel = TrainPanel(console(file))
    with panel:
        for event in (START, STEP, msgspec.structs.replace(STEP, step=20, loss=5.0)):
            panel(event)
    file.seek(0)
    assert "5.0000  #_" in file.read()


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([2.0], "▁"), ([1.0, 1.0], "▁▁"), ([0, 1, 7, 3], "▁▂█▄")]
)
def test_a_sparkline_spans_its_values(values: list[float], bars: str) -> None:
    assert sparkline(values, ascii_only=False) == bars


class Terminal:
    """`ttt train` on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ttt_cli", "train", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, shown: str | None) -> None:
        """Read until something is shown; None: to the end."""
        deadline = time.monotonic() + 60
        while shown is None or shown not in self.text:
            assert time.monotonic() < deadline, self.text
            try:
                more = os.read(self._ours, 65536)
            except OSError:  # how Linux says that nobody holds the other end any more
                more = b""
            if not more:
                assert shown is None, self.text
                break
            self.text += more.decode(errors="replace").replace("\r\n", "\n")

    def end(self) -> int:
        """Wait for the end of the process."""
        self.read_until(None)
        os.close(self._ours)
        return self.process.wait(timeout=60)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start `ttt train` of a small model, with more flags; what still runs is killed at the end."""
    started: list[Terminal] = []
    shape = {"hidden-size": 32, "num-layers": 2, "num-heads": 2, "seq-len": 32, "batch": 4}
    brief = {"tokenizer": "bytes", "documents": 4, "eval-samples": 1, "log-every": 2}
    values = {**shape, **brief, "out": tmp_path / "run"}
    flags = [f"--{name}={value}" for name, value in values.items()]

    def start(*more: str) -> Terminal:
        started.append(Terminal(*flags, *more))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def test_on_a_terminal_a_run_is_a_panel_and_ends_with_its_summary(
    terminal: Callable[..., Terminal],
) -> None:
    shown = terminal("--steps", "6")
    assert shown.end() == 0
    assert "step 6/6" in last_frame(shown.text)
    assert "step 2/6  loss" not in shown.text, "no lines besides"
    after = shown.text[shown.text.rindex(SHOW) :]
    assert HIDE not in after
    assert "val loss  " in after
    assert after.strip().splitlines()[-1].startswith("try         ttt generate ")


def test_ctrl_c_gives_the_cursor_back_before_the_error_is_told(
    terminal: Callable[..., Terminal],
) -> None:
    shown = terminal("--steps", "1000000")
    shown.read_until("tokens/s")
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 75
    assert shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    assert "error: stopped by SIGINT after step" in shown.text[shown.text.rindex(SHOW) :]


@pytest.mark.parametrize(
    ("common", "plain", "term", "tty", "expected"),
    [
        (Common(json=False, quiet=False), False, "xterm", True, TrainPanel),
        (Common(json=False, quiet=False), False, None, True, TrainPanel),
        (Common(json=False, quiet=False), False, "xterm", False, Lines),
        (Common(json=False, quiet=False), False, "dumb", True, Lines),
        (Common(json=False, quiet=False), True, "xterm", True, Lines),
        (Common(json=True, quiet=False), False, "xterm", True, Lines),
        (Common(json=False, quiet=True), False, "xterm", True, Lines),
    ],
)
def test_the_panel_is_for_terminals_and_people_who_want_it(
    monkeypatch: pytest.MonkeyPatch,
    common: Common,
    plain: bool,
    term: str | None,
    tty: bool,
    expected: type,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    with reporting(common, plain=plain) as show:
        assert type(show) is expected


def test_without_colours_none_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with TrainPanel() as panel:
        panel(START)
        panel(STEP)
    assert not re.search(r"\x1b\[[0-9;]*(3[0-8]|9[0-7])[0-9;]*m", capsys.readouterr().out)
