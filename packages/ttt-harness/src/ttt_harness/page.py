"""The comparison of runs as one HTML file that needs nothing else: no script, no network."""

import json
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ttt_harness.chart import Series, line_chart, swatch
from ttt_harness.compare import RunSummary
from ttt_harness.views import GIB, duration

_UNKNOWN = "-"
_COLUMNS = (
    *("run", "status", "val loss", "best", "bits/byte", "train loss", "step", "tokens"),
    *("tokens/s", "memory", "wall", "device-hours", "retries"),
)
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --faint: #667; --line: #d5d9e0;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b1418b; --c4: #8a6d00; --c5: #3a9bd1;
  --c6: #7b4fc9; --c7: #444; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --text: #e4e7ec; --faint: #9aa3b2;
  --line: #333a45; --c0: #56b4e9; --c1: #ff8c42; --c2: #2fd3a0; --c3: #f08fcb; --c4: #f0e442;
  --c5: #8fd0ff; --c6: #b79bff; --c7: #ccc; } }
body { background: var(--page); color: var(--text); margin: 2rem auto; max-width: 80rem;
  padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, td, th, text { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right;
  white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td:last-child { white-space: pre-wrap; min-width: 24rem; }
.best { font-weight: 700; }
.charts { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); }
figure { margin: 0; } figcaption, .faint { color: var(--faint); }
svg path, svg g { fill: none; stroke-width: 1.6; } svg circle { stroke: none; }
svg text { fill: var(--faint); font-size: 12px; }
svg .x { text-anchor: middle; } svg .y { text-anchor: end; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--faint); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
.swatch { width: 28px; height: 8px; margin-right: .4rem; vertical-align: middle; }
"""
_COLOURS = "\n".join(
    f".c{n} {{ stroke: var(--c{n}); }} .c{n} circle {{ fill: var(--c{n}); }}" for n in range(8)
)


def write_page(path: Path, state: str, runs: Sequence[RunSummary], now: float) -> None:
    """Write the file anew; whoever reads it sees the old or the new, never a part."""
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(page(state, runs, now), encoding="utf-8")
    unfinished.replace(path)


def page(state: str, runs: Sequence[RunSummary], now: float) -> str:
    """The comparison as HTML.

    Args:
        state: what it is of.
        runs: in their order.
        now: seconds since the epoch.
    """
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    sections = [
        f"<h1>{len(runs)} runs of {escape(state)}</h1>",
        f'<p class="faint">{escape(moment)}; {escape(_cost(runs))}</p>',
        _figures_table(runs),
        _charts(runs),
        _settings_table(runs),
        _attempts_table(runs),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # Whatever a name may hold, nothing is run and nothing is fetched.
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(state)}</title>",
            f"<style>{_STYLE}{_COLOURS}</style></head><body>",
            *filter(None, sections),
            "</body></html>\n",
        ]
    )


def _cost(runs: Sequence[RunSummary]) -> str:
    hours = sum(run.device_hours for run in runs)
    tokens = sum(run.tokens or 0 for run in runs)
    retries = sum(run.retries for run in runs)
    return f"{hours:.2f} device-hours, {tokens:,} tokens, {retries} retries"


def _figures_table(runs: Sequence[RunSummary]) -> str:
    best = min((run.val_loss for run in runs if run.val_loss is not None), default=None)
    rows = [_row(run, is_best=run.val_loss is not None and run.val_loss == best) for run in runs]
    return _table("", _COLUMNS, rows)


def _row(run: RunSummary, *, is_best: bool) -> str:
    memory = run.peak_memory_bytes
    cells = [
        run.name,
        run.status,
        _number(run.val_loss, 4),
        _number(run.best_val_loss, 4),
        _number(run.val_bpb, 4),
        _number(run.train_loss, 4),
        _number(run.step, 0),
        _number(run.tokens, 0),
        _number(run.tokens_per_s, 0),
        _UNKNOWN if memory is None else f"{memory / GIB:.2f} GiB",
        duration(run.wall_s),
        f"{run.device_hours:.3f}",
        f"{run.retries}",
    ]
    return _cells(cells, ' class="best"' if is_best else "")


def _charts(runs: Sequence[RunSummary]) -> str:
    by_step = (
        ("validation loss", [run.val_curve for run in runs]),
        ("training loss", [run.train_curve for run in runs]),
    )
    figures = []
    for title, curves in by_step:
        series = [
            Series(run.name, number, curve)
            for number, (run, curve) in enumerate(zip(runs, curves, strict=True))
        ]
        drawn = line_chart(series, x_label="step", y_label=f"{title}, nats a token")
        if drawn:
            figures.append(f"<figure><figcaption>{title}</figcaption>{drawn}</figure>")
    if not figures:
        return ""
    legend = "".join(
        f"<li>{swatch(number)}{escape(run.name)}</li>" for number, run in enumerate(runs)
    )
    drawings = "".join(figures)
    return f'<h2>Curves</h2><ul class="legend">{legend}</ul><div class="charts">{drawings}</div>'


def _settings_table(runs: Sequence[RunSummary]) -> str:
    paths = list(runs[0].settings) if runs else []
    rows = [_cells([run.name, *(_shown(run.settings[path]) for path in paths)]) for run in runs]
    return _table("What differs", ("run", *paths), rows) if paths else ""


def _attempts_table(runs: Sequence[RunSummary]) -> str:
    told = [
        (run.name, attempt)
        for run in runs
        if len(run.attempts) > 1 or run.status == "failed"
        for attempt in run.attempts
    ]
    columns = ("run", "attempt", "device", "took", "ended", "detail")
    rows = [
        _cells(
            [
                name,
                f"{attempt.number}",
                attempt.device,
                duration(attempt.ended - attempt.started),
                attempt.cause,
                attempt.detail,
            ]
        )
        for name, attempt in told
    ]
    return _table("Attempts of runs that did not complete at once", columns, rows, "words")


def _table(title: str, columns: Iterable[str], rows: Sequence[str], kind: str = "") -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    body = "\n".join(rows)
    return (
        f'{heading}<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cells(cells: Iterable[str], attributes: str = "") -> str:
    return f"<tr{attributes}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _number(value: float | None, digits: int) -> str:
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _shown(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
