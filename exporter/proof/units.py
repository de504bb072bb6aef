"""Writes sizes and times as people say them: 4.2 MB, 350 µs. Two that differ never read alike."""

from collections.abc import Callable
from typing import Final

_SIZES: Final = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIMES: Final = ((1e6, "s"), (1e3, "ms"))
# More tell nobody anything.
_MOST_DECIMALS: Final = 6
_LEAST: Final = 0.1


def size_text(size_bytes: float, decimals: int = 1) -> str:
    """Return a size in bytes as people say it, in powers of ten: ``4.2 MB``."""
    return _text(size_bytes, _SIZES, "bytes", decimals)


def time_text(time_us: float, decimals: int = 1) -> str:
    """Return a time in microseconds as people say it: ``350 µs``."""
    return _text(time_us, _TIMES, "µs", decimals)


def figure_and_limit(value: float, limit: float, text: Callable[[float, int], str]) -> tuple[str, str]:
    """Return a figure and its limit with as many decimals as tell them apart.

    Args:
        value: the figure.
        limit: that it is held against.
        text: `size_text` or `time_text`.
    """
    for decimals in range(1, _MOST_DECIMALS + 1):
        texts = text(value, decimals), text(limit, decimals)
        if texts[0] != texts[1] or value == limit:
            return texts
    return text(value, _MOST_DECIMALS), text(limit, _MOST_DECIMALS)


def _text(value: float, units: tuple[tuple[float, str], ...], smallest: str, decimals: int) -> str:
    scale, unit = next(((scale, unit) for scale, unit in units if abs(value) >= scale), (1.0, smallest))
    if 0 < abs(value) < _LEAST:
        # Nothing that is there may read as nothing.
        return f"{value:.3g} {unit}"
    number = f"{value / scale:.{decimals}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
