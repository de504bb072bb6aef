"""Says what a column of a source file holds: numbers, texts or times, how many, in what range. Judges nothing."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainer.errors import DataError
from trainer.features.columns import Place, column_of, found_labels, numbers, texts, times

Kind = Literal["number", "text", "time", "other"]


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What one column holds.

    Attributes:
        kind: ``number`` and ``text`` as the feature store would read it; ``time``: dates; ``other``: nothing it reads.
        stored_as: Arrow's name of the type in the file.
        n_early: values that the first half of the rows has.
        n_distinct: different values, missing ones not counted.
        minimum, maximum: of numbers; NaN for other kinds.
        is_whole: all numbers are whole.
        is_ordered: numbers or times never fall.
        is_counting: each number is the one before plus one.
        names: the different values as text, for ``text`` and whole numbers; whole numbers by value, else by alphabet.
        early_rows: how many rows of the first half carry each of `names`.
        refusal: why it is no column of numbers, for people; empty for numbers.
    """

    name: str
    kind: Kind
    stored_as: str
    n_rows: int
    n_missing: int
    n_early: int
    n_distinct: int
    minimum: float = math.nan
    maximum: float = math.nan
    is_whole: bool = False
    is_ordered: bool = False
    is_counting: bool = False
    names: tuple[str, ...] = ()
    early_rows: tuple[int, ...] = ()
    refusal: str = ""


# More different whole numbers than this name no classes, so that nobody needs their texts.
MAX_NAMED_NUMBERS: Final = 1000


def profile_column(table: Any, place: Place) -> ColumnProfile:  # noqa: ANN401 - Arrow ships no types
    """Describe a column of an Arrow table.

    Raises:
        DataError: there is no such column, or all of it is empty, or a stored number is infinite or too large.
    """
    raw = column_of(table, place)
    try:
        values = numbers(raw, place, may_miss=True)
    except DataError as refusal:
        return _without_numbers(raw, place, refusal)
    return _of_numbers(raw, place, values)


def _of_numbers(raw: Any, place: Place, values: NDArray[np.float64]) -> ColumnProfile:  # noqa: ANN401
    present = values[~np.isnan(values)]
    distinct = np.unique(present)
    is_whole = bool(np.all(present == np.floor(present)))
    steps = np.diff(present)
    is_named = is_whole and len(distinct) <= MAX_NAMED_NUMBERS
    names, early_rows = _names_of(texts(raw, place, may_miss=True)) if is_named else ((), ())
    return ColumnProfile(
        place.column,
        "number",
        str(raw.type),
        n_rows=len(values),
        n_missing=len(values) - len(present),
        n_early=int(np.sum(~np.isnan(values[: len(values) // 2]))),
        n_distinct=len(distinct),
        minimum=float(distinct[0]),
        maximum=float(distinct[-1]),
        is_whole=is_whole,
        is_ordered=bool(np.all(steps >= 0)),
        is_counting=len(present) == len(values) and bool(np.all(steps == 1)),
        names=names,
        early_rows=early_rows,
    )


def _without_numbers(raw: Any, place: Place, refusal: DataError) -> ColumnProfile:  # noqa: ANN401
    stored_as = str(raw.type)
    try:
        seconds = times(raw, place)
    except (DataError, pa.ArrowException):
        pass
    else:
        return ColumnProfile(
            place.column,
            "time",
            stored_as,
            n_rows=len(seconds),
            n_missing=0,
            n_early=len(seconds) // 2,
            n_distinct=len(np.unique(seconds)),
            is_ordered=bool(np.all(np.diff(seconds) >= 0)),
            refusal=str(refusal),
        )
    if raw.null_count == len(raw) or pa.types.is_floating(raw.type):
        raise refusal  # all empty, or numbers among which one is infinite or too large
    if not (pa.types.is_dictionary(raw.type) or pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type)):
        n_early = len(raw) // 2 - raw.slice(0, len(raw) // 2).null_count
        return ColumnProfile(
            place.column, "other", stored_as, len(raw), raw.null_count, n_early, n_distinct=0, refusal=str(refusal)
        )
    values = texts(raw, place, may_miss=True)
    names, early_rows = _names_of(values)
    return ColumnProfile(
        place.column,
        "text",
        stored_as,
        n_rows=len(values),
        n_missing=values.count(None),
        n_early=sum(value is not None for value in values[: len(values) // 2]),
        n_distinct=len(names),
        names=names,
        early_rows=early_rows,
        refusal=str(refusal),
    )


def _names_of(values: list[str | None]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    names = found_labels(values)
    early = Counter(values[: len(values) // 2])
    return names, tuple(early[name] for name in names)
