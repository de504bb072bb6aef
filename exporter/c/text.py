"""Writes C99: constants that hold exactly the numbers they were given, and nothing about models."""

import math
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_WIDTH: Final = 116
_INTEGERS: Final = ((np.uint8, "uint8_t"), (np.uint16, "uint16_t"), (np.uint32, "uint32_t"))
_RESERVED: Final = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "  # noqa: SIM905 - a list of words
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while".split()
)


def identifier(name: str) -> str:
    """Return a C identifier as near to a name as can be: ``rain forecast/3`` gives ``rain_forecast_3``."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "model"
    return f"model_{text}" if text[0].isdigit() or text in _RESERVED else text


def float_text(value: float) -> str:
    """Return a float constant that is exactly the float32 nearest to a value."""
    number = float(np.float32(value))
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number.hex()}f" if number != int(number) or abs(number) >= 1 << 24 else f"{int(number)}.0f"


def double_text(value: float) -> str:
    """Return a double constant that is exactly the value."""
    return value.hex()


def floats(name: str, values: Sequence[float] | NDArray[np.floating]) -> str:
    """Return a table of float32 numbers."""
    return _table("float", name, [float_text(float(value)) for value in np.ravel(values)])


def doubles(name: str, values: Sequence[float] | NDArray[np.floating]) -> str:
    """Return a table of float64 numbers."""
    return _table("double", name, [double_text(float(value)) for value in np.ravel(values)])


def integers(name: str, values: Sequence[int] | NDArray[np.integer]) -> str:
    """Return a table of integers from 0 on, in the smallest unsigned type that holds them all.

    Raises:
        ValueError: a negative number, or one above 2**32 - 1.
    """
    numbers = [int(value) for value in np.ravel(values)]
    low, high = min(numbers), max(numbers)
    for dtype, kind in _INTEGERS:
        if low >= 0 and high <= np.iinfo(dtype).max:
            return _table(kind, name, [str(number) for number in numbers])
    raise ValueError(f"{name}: numbers from {low} to {high} fit no unsigned type of 32 bits")


def comment_text(text: str) -> str:
    """Return text that may stand in a comment: it cannot end it, and has no control characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).replace("*/", "* /").replace("/*", "/ *")


def _table(kind: str, name: str, words: Sequence[str]) -> str:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) + 2 > _WIDTH:
            lines.append(line)
            line = ""
        line += f"{' ' if line else ''}{word},"
    body = "\n".join(f"  {each}" for each in (*lines, line))
    return f"static const {kind} {name}[{len(words)}] = {{\n{body}\n}};"
