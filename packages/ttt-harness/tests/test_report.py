"""Runs beside each other: the numbers, the page, the curves."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness_bench import Bench
from hypothesis import given
from hypothesis import strategies as st

from ttt_harness.chart import Series, line_chart, thin, ticks
from ttt_harness.compare import compare, differences
from ttt_harness.model import Attempt
from ttt_harness.page import page

Command = Callable[..., tuple[object, str, str]]
EVIL = "<script>alert('&')</script>"


def step(number: int, loss: float | None, **more: object) -> dict[str, object]:
    return {
        "event": "step",
        "step": number,
        "loss": loss,
        "tokens": 64 * number,
        "tokens_per_s": 100.0 * number,
        "peak_memory_bytes": number << 30,
        **more,
    }


def evaluation(number: int, loss: float) -> dict[str, object]:
    return {"event": "eval", "step": number, "val_loss": loss, "val_bpb": loss / 2}


def log(bench: Bench, name: str, *records: dict[str, object], rest: str = "") -> None:
    out = bench.folder / name
    out.mkdir(exist_ok=True)
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    (out / "metrics.jsonl").write_text(lines + rest)


@pytest.fixture
def compared(bench: Bench) -> Bench:
    """One run that completed at its second attempt, one that goes on, one that was not begun."""
    bench.add(
        "a", status="completed", retries=1, config='out = "x"\n[train]\nlr = 0.1\nsteps = 3\n'
    )
    bench.add("b", status="running", started=1000.0, config='out = "y"\n[train]\nsteps = 3\n')
    bench.add("c", config='out = "z"\n[train]\nlr = 0.1\nsteps = 3\nkind = "mlp"\n')
    first = Attempt("a", 1, "crash", f"no luck {EVIL}", "cpu", 0.0, 100.0)
    bench.store.save(bench.record("a"), attempt=first)
    second = Attempt("a", 2, "completed", "", "cpu", 200.0, 1000.0)
    bench.store.save(bench.record("a"), attempt=second)
    a = [step(1, 3.0), step(2, 9.0), evaluation(2, 2.5), step(2, 2.0), evaluation(3, 2.75)]
    log(bench, "a", *a)
    log(bench, "b", step(1, 4.0), step(2, None), rest='{"event": "st')  # it is being written
    return bench


def test_the_numbers_are_those_that_were_logged(compared: Bench) -> None:
    a, b, c = compare(compared.store, ["a", "b", "c"], now=4600.0)
    assert a.train_curve == [(1, 3.0), (2, 2.0)]  # what was done twice counts once
    assert a.val_curve == [(2, 2.5), (3, 2.75)]
    assert (a.train_loss, a.val_loss, a.best_val_loss, a.val_bpb) == (2.0, 2.75, 2.5, 1.375)
    assert (a.step, a.tokens, a.tokens_per_s) == (3, 128, 200.0)
    assert a.peak_memory_bytes == 2 << 30
    assert (a.wall_s, a.device_hours, a.retries) == (900.0, 0.25, 1)
    assert (b.train_loss, b.train_curve, b.device_hours) == (None, [(1, 4.0)], 1.0)
    assert (c.step, c.tokens, c.val_loss, c.wall_s, c.train_curve) == (None, None, None, 0, [])


def test_only_what_differs_is_shown_of_the_settings(compared: Bench) -> None:
    a, b, c = compare(compared.store, ["a", "b", "c"], now=0.0)
    assert a.settings == {"train.lr": 0.1, "train.kind": None}
    assert b.settings == {"train.lr": None, "train.kind": None}
    assert c.settings == {"train.lr": 0.1, "train.kind": "mlp"}
    assert differences({"a": {"x": 1}, "b": {"x": 1.0}}) == {"a": {"x": 1}, "b": {"x": 1.0}}
    assert differences({}) == {}


class Page(HTMLParser):
    """What is in a page: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_runs_nothing(compared: Bench) -> None:
    log(compared, "c", step(1, 1.0))
    runs = compare(compared.store, ["a", "b", "c"], now=4600.0)
    text = page(EVIL, [runs[0], runs[1]._replace(name=EVIL), runs[2]], now=4600.0)
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(found.tags)
    assert not [value for value in found.values if "//" in value or "url(" in value]
    assert "url(" not in text
    assert "@import" not in text
    assert found.tags.count("figure") == 2
    assert f"no luck {EVIL}" in found.text
    assert "1.25 device-hours" in found.text
    assert "prefers-color-scheme: dark" in text
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(drawing)  # noqa: S314  (our own)


def test_a_page_without_measurements_has_no_chart(bench: Bench) -> None:
    bench.add("a")
    text = page("state", compare(bench.store, ["a"], now=0.0), now=0.0)
    assert "<figure" not in text
    assert "What differs" not in text


def test_the_command_writes_the_page_or_prints_the_numbers(
    compared: Bench, command: Command, tmp_path: Path
) -> None:
    state, file = str(compared.paths.export), tmp_path / "report.html"
    file.write_text("an older one")
    code, out, err = command("report", "--state", state, "-o", str(file))
    assert (code, out, err) == (0, f"{file}  runs: 3\n", "")
    assert file.read_text().startswith("<!doctype html>")
    assert list(tmp_path.glob(".*.tmp")) == []
    code, out, _ = command("report", "b", "a", "--state", state, "--json")
    assert code == 0
    runs = json.loads(out)["runs"]
    assert [run["name"] for run in runs] == ["a", "b"]
    assert runs[0]["attempts"][0]["cause"] == "crash"
    assert runs[0]["val_curve"] == [[2, 2.5], [3, 2.75]]


def test_what_cannot_be_reported_is_one_line(
    compared: Bench, command: Command, tmp_path: Path
) -> None:
    state = str(compared.paths.export)
    code, _, err = command("report", "--state", state, "-o", str(tmp_path))
    assert code == 3
    assert "it is a folder" in err
    code, _, err = command("report", "aa", "--state", state)
    assert code == 9
    assert "did you mean `a`?" in err


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_curves_stay_inside_their_axes(values: list[float]) -> None:
    series = [Series("x", 9, list(enumerate(values)))]
    drawing = ElementTree.fromstring(line_chart(series, x_label="a", y_label="b"))  # noqa: S314
    (path,) = [each for each in drawing.iter("path") if each.get("stroke-dasharray")]
    places = [tuple(map(float, place.split())) for place in path.attrib["d"][1:].split("L")]
    assert all(0 <= x <= 720 and 0 <= y <= 320 for x, y in places)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=100), st.integers(1, 50))
def test_thinning_keeps_the_mean_of_each_part(values: list[float], most: int) -> None:
    points = list(enumerate(values))
    thinned = thin(points, most)
    assert len(thinned) == min(len(points), most)
    xs = [x for x, _ in thinned]
    assert xs == sorted(xs)
    low, high = min(values), max(values)
    assert all(low - 1e-6 <= y <= high + 1e-6 and math.isfinite(y) for _, y in thinned)
