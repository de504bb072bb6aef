"""Reads imputers: what stands for a missing value, and the flags of where it was missing."""

from typing import Any, Final

import numpy as np
from sklearn.impute import MissingIndicator, SimpleImputer

from exporter.programs.program import Fill, Flags
from exporter.reading.reading import Readers, Reading, Texts

_NEVER: Final = -1.0  # an index of categories that no row holds


def is_missing(value: object) -> bool:
    """Tell whether a value is one of Python's ways to say that there is none: None, NaN, NaT, NA."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)  # noqa: PLR0124 - what NaN is


def _imputer(reading: Reading, imputer: Any, place: int) -> int:
    statistics = list(imputer.statistics_)
    if imputer.keep_empty_features:
        kept = list(range(len(statistics)))
    else:
        kept = [i for i, value in enumerate(statistics) if not is_missing(value)]
    if not kept:
        raise reading.refuse(imputer, "that drops every column")
    filled = reading.columns(place, kept)
    markers = [_marker(reading, imputer, text) for text in reading.texts(filled)]
    parts = []
    for marker, columns in _runs(markers):
        part = reading.columns(filled, columns)
        texts = list(reading.texts(part))
        values = []
        for i, column in enumerate(columns):
            value, texts[i] = _code(reading, imputer, statistics[kept[column]], texts[i])
            values.append(value)
        added = reading.builder.add(Fill(part, marker, np.array(values, dtype=np.float64)))
        parts.append(reading.with_texts(added, texts))
    answer = reading.join(parts)
    # An indicator that saw nothing missing has no columns, and adds none.
    if imputer.indicator_ is None or len(imputer.indicator_.features_) == 0:
        return answer
    return reading.join([answer, reading.read("indicator", imputer.indicator_, place, "transform")])


def _indicator(reading: Reading, indicator: Any, place: int) -> int:
    chosen = reading.columns(place, indicator.features_) if len(indicator.features_) else None
    if chosen is None:
        raise reading.refuse(indicator, "that flags no column")
    markers = [_marker(reading, indicator, text) for text in reading.texts(chosen)]
    return reading.join(
        [reading.builder.add(Flags(reading.columns(chosen, columns), marker)) for marker, columns in _runs(markers)]
    )


def _marker(reading: Reading, step: Any, texts: Texts) -> float:
    """Return the number that stands for a missing value in a column."""
    marker = step.missing_values
    if is_missing(marker):
        # None is a text like any other where NaN is sought, and the other way round.
        is_sought = texts is None or (marker is None) == (reading.gap is None)
        return float("nan") if is_sought else _NEVER
    if isinstance(marker, str):
        if texts is None:
            raise reading.refuse(step, f"with the mark {marker!r} in a column of numbers")
        return float(texts.index(marker)) if marker in texts else _NEVER
    if texts is not None:
        raise reading.refuse(step, f"with the mark {marker!r} in a column of texts")
    return float(marker)


def _code(reading: Reading, step: Any, value: object, texts: Texts) -> tuple[float, Texts]:
    """Return the number of a value, and the texts of its column, which may have become one more."""
    if isinstance(value, str):
        if texts is None:
            raise reading.refuse(step, f"that puts {value!r} into a column of numbers")
        if value not in texts:
            texts = (*texts, value)
        return float(texts.index(value)), texts
    number: Any = value
    return float("nan") if is_missing(value) else float(number), texts


def _runs(markers: list[float]) -> list[tuple[float, list[int]]]:
    """Group neighbouring columns of one marker."""
    runs: list[tuple[float, list[int]]] = []
    for column, marker in enumerate(markers):
        if runs and repr(runs[-1][0]) == repr(marker):
            runs[-1][1].append(column)
        else:
            runs.append((marker, [column]))
    return runs


READERS: Final[Readers] = {
    SimpleImputer: {"transform": _imputer},
    MissingIndicator: {"transform": _indicator},
}
