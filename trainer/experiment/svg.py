"""Draws small charts as SVG text: colours and fonts come from the page's style, so that they follow its light or dark.

Every text that comes from data is escaped here.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

_ROW: Final = 22
_LABEL: Final = 190
_WIDTH: Final = 660
_VALUES: Final = 130
_PAD: Final = 34
_COLUMN: Final = 84
_NAME_CHARACTERS: Final = 26
# Narrower cells hold no number.
_NUMBER_WIDTH: Final = 30
# In a cell so strong dark text would drown.
_STRONG: Final = 0.6

# Name, value, lower and upper end of its interval, text at the right, class.
Row = tuple[str, float, float, float, str, str]
# Strength from 0 to 1, class, text.
Cell = tuple[float, str, str]


def sparkline(counts: Sequence[int], width: int = 120, height: int = 26) -> str:
    """Draw counts as thin bars."""
    if not counts or not max(counts):
        return ""
    step, top = width / len(counts), max(counts)
    parts = []
    for place, count in enumerate(counts):
        tall = max(height * count / top, 0.6) if count else 0.0
        parts.append(_rect("", place * step, height - tall, max(step - 1, 0.8), tall))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg class="spark" {size} aria-hidden="true">{"".join(parts)}</svg>'


def bars(rows: Sequence[Row], *, mark: float | None = None, width: int = _WIDTH) -> str:
    """Draw a horizontal bar from 0 a row, and its interval; ``mark`` gets a line through all rows."""
    ends = _ends(rows)
    low, high = min([0.0, *ends]), max([0.0, *ends])
    parts = []
    for place, (name, value, lower, upper, text, kind) in enumerate(rows):
        if math.isfinite(value):
            left, right = sorted((_across(0.0, low, high, width), _across(value, low, high, width)))
            y = place * _ROW
            bar = _rect(f"bar {kind}", left, y + 4, max(right - left, 1), 14)
            whisker = _whisker(_across(lower, low, high, width), _across(upper, low, high, width), y)
            parts += [_names(name, text, y, width), bar, whisker if lower < upper else ""]
    return _rows_picture(parts, len(rows), width, None if mark is None else _across(mark, low, high, width))


def dots(rows: Sequence[Row], *, mark: float, width: int = _WIDTH) -> str:
    """Draw a point with its interval a row, over the range in which they lie; ``mark`` gets a line through all rows."""
    ends = [*_ends(rows), mark]
    low, high = min(ends), max(ends)
    parts = []
    for place, (name, value, lower, upper, text, kind) in enumerate(rows):
        y = place * _ROW
        x = _across(value, low, high, width)
        whisker = _whisker(_across(lower, low, high, width), _across(upper, low, high, width), y)
        parts += [
            _names(name, text, y, width),
            whisker,
            f'<circle class="bar {kind}" cx="{x:.1f}" cy="{y + 11}" r="5"/>',
        ]
    bottom = len(rows) * _ROW + 14
    for value, anchor in ((low, "start"), (high, "end")):
        parts.append(_text("tick", _across(value, low, high, width), bottom, f"{value:.3g}", anchor))
    return _rows_picture(parts, len(rows), width, _across(mark, low, high, width), foot=16)


def heatmap(
    row_names: Sequence[str], column_names: Sequence[str], cells: Sequence[Sequence[Cell]], *, cell_width: int = 46
) -> str:
    """Draw a grid of coloured cells, a row after the other; names above are turned where they are long."""
    longest = max((len(name) for name in column_names), default=0)
    is_turned = longest * 7 > cell_width
    head = 12 + (min(longest, _NAME_CHARACTERS) * 6 if is_turned else 12)
    parts = []
    for place, name in enumerate(column_names):
        x = _LABEL + place * cell_width + cell_width / 2
        if is_turned:
            turn = f"translate({x + 4:.0f} {head - 6}) rotate(-60)"
            parts.append(f'<text class="name" transform="{turn}">{escape(_cut(name))}</text>')
        else:
            parts.append(_text("name", x, head - 6, name, "middle"))
    for row, (name, values) in enumerate(zip(row_names, cells, strict=True)):
        y = head + row * _ROW
        parts.append(_text("name", _LABEL - 8, y + 15, _cut(name), "end"))
        for column, (strength, kind, text) in enumerate(values):
            x = _LABEL + column * cell_width
            opacity = f'fill-opacity="{min(max(strength, 0.0), 1.0):.2f}"'
            title = f"{name}, {column_names[column]}: {text}"
            parts.append(_rect(f"cell {kind}", x, y, cell_width - 2, _ROW - 2, title=title, more=opacity))
            if cell_width >= _NUMBER_WIDTH and text:
                strong = " strong" if strength > _STRONG else ""
                parts.append(_text(f"cell-text{strong}", x + cell_width / 2 - 1, y + 14, text, "middle"))
    width = _LABEL + len(column_names) * cell_width + (60 if is_turned else 4)
    return _picture(width, head + len(row_names) * _ROW + 4, parts)


def plane(
    points: Sequence[tuple[float, float, float]],
    *,
    names: tuple[str, str],
    has_line: bool,
    low: float,
    high: float,
    size: int = 340,
) -> str:
    """Draw points ``(x, y, radius)`` in a square over ``low`` to ``high``, and its diagonal."""
    span = (high - low) or 1.0
    inner = size - 2 * _PAD

    def x(value: float) -> float:
        return _PAD + 16 + inner * (value - low) / span

    def y(value: float) -> float:
        return size - _PAD - inner * (value - low) / span

    left, bottom = x(low), y(low)
    parts = [
        f'<path class="axis" d="M{left:.1f} {y(high):.1f}V{bottom:.1f}H{x(high):.1f}"/>',
        f'<path class="mark" d="M{left:.1f} {bottom:.1f}L{x(high):.1f} {y(high):.1f}"/>',
    ]
    ticks = (low, low + span / 2, high)
    parts += [_text("tick", x(tick), bottom + 15, f"{tick:.3g}", "middle") for tick in ticks]
    parts += [_text("tick", left - 6, y(tick) + 4, f"{tick:.3g}", "end") for tick in ticks]
    known = [point for point in points if all(math.isfinite(value) for value in point)]
    if has_line and known:
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b, _ in known)
        parts.append(f'<path class="line" d="M{path}"/>')
    for a, b, radius in known:
        place = f'cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius:.1f}"'
        parts.append(f'<circle class="point" {place}><title>{a:.4g}, {b:.4g}</title></circle>')
    parts.append(_text("tick", size / 2 + 16, size - 3, names[0], "middle"))
    turn = f"translate(11 {size / 2:.0f}) rotate(-90)"
    parts.append(f'<text class="tick" transform="{turn}" text-anchor="middle">{escape(names[1])}</text>')
    return _picture(size + 20, size, parts)


def stacks(columns: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], *, height: int = 190) -> str:
    """Draw a stacked column of shares each, and the legend of what is stacked."""
    top, inner = 10, height - 40
    parts = []
    for place, (name, shares) in enumerate(columns):
        x, y = place * _COLUMN + 8, float(top)
        for kind, share in enumerate(shares):
            title = f"{name}, {names[kind]}: {share:.1%}"
            tall = max(inner * share - 0.5, 0)
            parts.append(_rect(f"kind{kind % 8}", x, y, _COLUMN - 12, tall, title=title))
            y += inner * share
        parts.append(_text("tick", x + (_COLUMN - 12) / 2, height - 14, name, "middle"))
    x = len(columns) * _COLUMN + 24
    for kind, name in enumerate(names[:10]):
        y = top + 16 * kind
        parts += [_rect(f"kind{kind % 8}", x, y, 11, 11), _text("name", x + 17, y + 10, _cut(name), "start")]
    return _picture(x + 180, height, parts)


def quartiles(columns: Sequence[tuple[str, Sequence[float]]], low: float, high: float, *, height: int = 190) -> str:
    """Draw a box from the first to the third quartile a column, with a line at the median."""
    span, inner = (high - low) or 1.0, height - 40

    def y(value: float) -> float:
        return 8 + inner * (high - value) / span

    parts = [f'<path class="axis" d="M56 8V{8 + inner}"/>']
    parts += [_text("tick", 50, y(tick) + 4, f"{tick:.4g}", "end") for tick in (low, (low + high) / 2, high)]
    for place, (name, (first, middle, third)) in enumerate(columns):
        x, wide = 64 + place * _COLUMN, _COLUMN - 16
        parts += [
            _rect("bar", x, y(third), wide, max(y(first) - y(third), 1), more='fill-opacity="0.55"'),
            f'<path class="whisker" d="M{x} {y(middle):.1f}h{wide}"/>',
            _text("tick", x + wide / 2, height - 14, name, "middle"),
        ]
    return _picture(64 + len(columns) * _COLUMN + 10, height, parts)


def _ends(rows: Sequence[Row]) -> list[float]:
    return [number for row in rows for number in row[1:4] if math.isfinite(number)]


def _across(value: float, low: float, high: float, width: int) -> float:
    return _LABEL + (width - _LABEL - _VALUES) * (value - low) / ((high - low) or 1.0)


def _names(name: str, text: str, y: float, width: int) -> str:
    at_right = _text("value", width - _VALUES + 12, y + 15, text, "start")
    return _text("name", _LABEL - 8, y + 15, _cut(name), "end") + at_right


def _whisker(left: float, right: float, y: float) -> str:
    return f'<path class="whisker" d="M{left:.1f} {y + 11}H{right:.1f}M{left:.1f} {y + 7}v8M{right:.1f} {y + 7}v8"/>'


def _rows_picture(parts: list[str], n_rows: int, width: int, mark: float | None, foot: int = 0) -> str:
    height = n_rows * _ROW + 4
    line = [] if mark is None or not math.isfinite(mark) else [f'<path class="mark" d="M{mark:.1f} 0V{height}"/>']
    return _picture(width, height + foot, [*parts, *line])


def _rect(kind: str, x: float, y: float, width: float, height: float, *, title: str = "", more: str = "") -> str:
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"'
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect class="{kind}" {box} {more}>{inner}</rect>'


def _text(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(width: int, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width}" height="{height:.0f}" viewBox="0 0 {width} {height:.0f}"'
    return f'<svg class="chart" {size} role="img">{"".join(parts)}</svg>'


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}…"
