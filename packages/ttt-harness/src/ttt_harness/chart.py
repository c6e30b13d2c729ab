"""Curves as SVG, drawn in the colours of the page they are in."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

COLOURS = 8
"""Of the page, classes c0, c1, ...; what follows has them again with other dashes."""

_WIDTH, _HEIGHT = 720.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 12.0, 12.0, 44.0
_MOST_POINTS = 400
_MARKED = 40
"""Curves of so few points show them."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


class Series(NamedTuple):
    """A curve."""

    name: str
    number: int
    """Decides its colour and dashes."""
    points: Sequence[tuple[float, float]]


class _Scale(NamedTuple):
    """From values to places."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def line_chart(series: Sequence[Series], *, x_label: str, y_label: str) -> str:
    """Draw curves over common axes; an empty string if none has a point."""
    points = [point for each in series for point in each.points]
    if not points:
        return ""
    x_low, x_high = _range([x for x, _ in points])
    y_low, y_high = _range([y for _, y in points])
    x_scale = _Scale(x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    y_scale = _Scale(y_low, y_high, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(y_label)} by {escape(x_label)}">'
    ]
    parts += _axes(x_scale, y_scale, x_label, y_label)
    parts += [_curve(each, x_scale, y_scale) for each in series if each.points]
    return "\n".join([*parts, "</svg>"])


def swatch(number: int) -> str:
    """A piece of a series' line, for a legend."""
    return (
        '<svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">'
        f'<path class="c{number % COLOURS}" d="M1 4H27"{_dash(number)}/></svg>'
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two, about so many."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many points, each the mean of its neighbours; as they are if they are fewer."""
    if len(points) <= most:
        return list(points)
    edges = [round(number * len(points) / most) for number in range(most + 1)]
    groups = [points[start:end] for start, end in pairwise(edges)]
    return [
        (math.fsum(x for x, _ in group) / len(group), math.fsum(y for _, y in group) / len(group))
        for group in groups
    ]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        room = abs(low) * 0.05 or 1.0
        return low - room, high + room
    return low, high


def _axes(x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    parts = []
    for value in ticks(y_scale.low, y_scale.high):
        y = y_scale(value)
        parts.append(f'<path class="grid" d="M{_LEFT:.1f} {y:.1f}H{_WIDTH - _RIGHT:.1f}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 6:.1f}" y="{y + 4:.1f}">{value:.6g}</text>')
    for value in ticks(x_scale.low, x_scale.high):
        x = x_scale(value)
        parts.append(f'<text class="x" x="{x:.1f}" y="{floor + 16:.1f}">{_short(value)}</text>')
    middle, side = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + floor) / 2
    parts.append(f'<path class="axis" d="M{_LEFT:.1f} {_TOP:.1f}V{floor:.1f}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<text class="x" x="{middle:.1f}" y="{_HEIGHT - 8:.1f}">{escape(x_label)}</text>')
    parts.append(
        f'<text class="x" transform="translate(14 {side:.1f}) rotate(-90)">{escape(y_label)}</text>'
    )
    return parts


def _curve(series: Series, x_scale: _Scale, y_scale: _Scale) -> str:
    places = [(x_scale(x), y_scale(y)) for x, y in thin(series.points, _MOST_POINTS)]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    marks = places if len(places) <= _MARKED else []
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in marks)
    last_x, last_y = series.points[-1]
    return (
        f'<g class="c{series.number % COLOURS}"><title>{escape(series.name)}: {last_y:.4f} '
        f'at {last_x:,.0f}</title><path d="M{line}"{_dash(series.number)}/>{dots}</g>'
    )


def _dash(number: int) -> str:
    dashes = _DASHES[number // COLOURS % len(_DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"
