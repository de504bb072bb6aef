"""Draws the plots of a report as SVG: bars, intervals, and quantiles on a logarithmic scale.

Written by hand, and coloured by the page's own style: the same numbers give the same bytes, a dark page gives dark
plots, and nothing is loaded. What a plot shows is written beside each mark, so that no reading needs a colour.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 720
_LABEL: Final = 170
_TEXT: Final = 150
_ROW: Final = 26
_TOP: Final = 8
_AXIS: Final = 24
_MARK: Final = 5
_TICKS: Final = 5
_LEFT: Final = _LABEL + 10
_RIGHT: Final = _WIDTH - _TEXT

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Bar:
    """One length; `kind` is its class in the page's style."""

    label: str
    value: float
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between two ends."""

    label: str
    low: float
    value: float
    high: float
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Values that ascend, for example the 50th, 90th, 99th percentile and the greatest."""

    label: str
    values: tuple[float, ...]
    text: str
    kind: str = ""


def draw_bars(title: str, bars: Sequence[Bar]) -> str:
    """Return bars from zero, one below the other."""
    longest = max((bar.value for bar in bars), default=0.0) or 1.0
    marks = []
    for place, bar in enumerate(bars):
        y, width = _TOP + place * _ROW, (_RIGHT - _LEFT) * bar.value / longest
        marks.append(_label(bar.label, y))
        box = f'x="{_LEFT}" y="{y + 5}" width="{max(width, 1):.1f}" height="{_ROW - 10}"'
        marks.append(f'<rect class="mark {bar.kind}" {box} rx="2"/>')
        marks.append(_text(bar.text, _LEFT + width + 8, y))
    return _svg(title, len(bars), 0, marks)


def draw_intervals(title: str, intervals: Sequence[Interval]) -> str:
    """Return values with their intervals over one linear axis."""
    low, high = _padded(min(i.low for i in intervals), max(i.high for i in intervals))
    scale = _linear(low, high)
    ticks = [(scale(value), f"{value:.3g}") for value in _linear_ticks(low, high)]
    marks = _grid(ticks, len(intervals))
    for place, interval in enumerate(intervals):
        y = _TOP + place * _ROW
        middle = y + _ROW / 2
        start, end = scale(interval.low), scale(interval.high)
        marks.append(_label(interval.label, y))
        marks.append(
            f'<line class="span {interval.kind}" x1="{start:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>'
        )
        marks.append(
            f'<circle class="mark {interval.kind}" cx="{scale(interval.value):.1f}" cy="{middle}" r="{_MARK}"/>'
        )
        marks.append(_text(interval.text, _RIGHT + 10, y))
    return _svg(title, len(intervals), _AXIS, marks)


def draw_quantiles(title: str, rows: Sequence[Quantiles], limit: float | None = None, limit_text: str = "") -> str:
    """Return ascending values over one logarithmic axis; what is zero stands at its left end.

    Args:
        title: of the plot.
        rows: one below the other.
        limit: where a line is drawn across all.
        limit_text: what the line means.
    """
    shown = [value for row in rows for value in row.values if value > 0] + ([limit] if limit else [])
    low = math.floor(math.log10(min(shown, default=1e-9)))
    high = max(math.ceil(math.log10(max(shown, default=1.0))), low + 1)
    scale = _logarithmic(low, high)
    step = max(1, math.ceil((high - low) / 8))
    ticks = [(scale(10.0**power), f"1e{power}") for power in range(low, high + 1, step)]
    marks = _grid(ticks, len(rows))
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        middle = y + _ROW / 2
        places = [scale(value) for value in row.values]
        marks.append(_label(row.label, y))
        marks.append(
            f'<line class="span {row.kind}" x1="{places[0]:.1f}" x2="{places[-1]:.1f}" y1="{middle}" y2="{middle}"/>'
        )
        sizes = range(_MARK - len(places) + 1, _MARK + 1)
        marks += [
            f'<circle class="mark {row.kind}" cx="{x:.1f}" cy="{middle}" r="{max(size, 2)}"/>'
            for x, size in zip(places, sizes, strict=True)
        ]
        marks.append(_text(row.text, _RIGHT + 10, y))
    if limit:
        x, bottom = scale(limit), _TOP + len(rows) * _ROW
        marks.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(
            f'<text class="limit-text" x="{x - 5:.1f}" y="{_TOP + 8}" text-anchor="end">{escape(limit_text)}</text>'
        )
    return _svg(title, len(rows), _AXIS, marks)


def _svg(title: str, n_rows: int, axis: int, marks: Sequence[str]) -> str:
    height = _TOP + n_rows * _ROW + axis
    body = "\n".join(marks)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img"><title>{escape(title)}</title>\n{body}\n</svg>'


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{_LABEL}" y="{y + _ROW / 2 + 4}" text-anchor="end">{escape(text)}</text>'


def _text(text: str, x: float, y: float) -> str:
    return f'<text class="value" x="{x:.1f}" y="{y + _ROW / 2 + 4}">{escape(text)}</text>'


def _grid(ticks: Sequence[tuple[float, str]], n_rows: int) -> list[str]:
    bottom = _TOP + n_rows * _ROW
    lines = [f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>' for x, _ in ticks]
    return lines + [
        f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>' for x, text in ticks
    ]


def _linear(low: float, high: float) -> Scale:
    return lambda value: _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)


def _logarithmic(low: int, high: int) -> Scale:
    linear = _linear(low, high)
    return lambda value: linear(min(max(math.log10(value), low), high)) if value > 0 else linear(low)


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _linear_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two ends, about five."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]
