"""Turns one raw column of a source file into a checked one, or refuses it with file, row and column.

Rows are data rows counted from 0 within their file, as ``data.rows`` of the project counts them. This module decides
what a value may be; it reads no files. Arrow's types stay inside ``trainer/features``.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from trainer.errors import DataError

# What spreadsheets and data frames write where there is no value.
MISSING_TEXTS: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
_NUMERIC: Final = (
    pa.types.is_floating,
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_null,
)
_UTC: Final = pa.timestamp("us", tz="UTC")
_NAMELESS: Final = (
    pa.types.is_nested,
    pa.types.is_temporal,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)
_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Place:
    """A column of a file, from a data row on: what every refusal names.

    Attributes:
        later: of several files that are read one after the other, those after ``file``: the place among all rows of
            their first row, and the file.
    """

    file: Path
    column: str
    first_row: int = 0
    later: tuple[tuple[int, Path], ...] = ()

    def refusal(self, index: int, problem: str) -> DataError:
        """Return the error about the value at ``index`` rows after the first."""
        file, row = self.file, self.first_row + index
        for begin, later in self.later:
            if begin <= index:
                file, row = later, index - begin
        return DataError(f"{file}: row {row}, column {self.column!r}: {problem}")

    def column_refusal(self, problem: str) -> DataError:
        """Return the error about the column as a whole."""
        return DataError(f"{self.file}: column {self.column!r}: {problem}")


def column_of(table: Any, place: Place) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return a column of an Arrow table as one array.

    Raises:
        DataError: there is no such column; the nearest name is told.
    """
    names: Sequence[str] = table.column_names
    if place.column not in names:
        nearest = difflib.get_close_matches(place.column, names, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"the columns are: {', '.join(names)[:300]}"
        raise place.column_refusal(f"there is no such column; {hint}")
    column = table.column(place.column)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def numbers(raw: Any, place: Place, *, may_miss: bool) -> NDArray[np.float64]:  # noqa: ANN401
    """Return a numeric column, ``(n_rows,) float64``, NaN where there is no value.

    Raises:
        DataError: all empty, a text that is no number, an infinite or too large number, or a missing value that the
            project does not allow.
    """
    if _is_text(raw.type):
        raw = _blank_to_null(raw)
    elif not any(is_kind(raw.type) for is_kind in _NUMERIC):
        raise place.column_refusal(f"holds {raw.type}, not numbers; convert it, or leave it out of the features")
    values = _parsed(raw, place)
    _verify_not_empty(pa.array(values), place)
    bad = np.flatnonzero(np.isinf(values) | (np.abs(values) > _MAX_FLOAT32))
    if bad.size:
        raise place.refusal(
            int(bad[0]), f"{float(values[bad[0]])} is infinite or too large for float32; mend it or leave it empty"
        )
    if not may_miss:
        _verify_complete(np.isnan(values), place)
    return values


def texts(raw: Any, place: Place, *, may_miss: bool) -> list[str | None]:  # noqa: ANN401
    """Return a column of names, None where there is no value; whole numbers lose their ``.0``, booleans are lower case.

    Raises:
        DataError: all empty, a type without names, or a missing value that the project does not allow.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if _is_text(raw.type):
        raw = _blank_to_null(raw)
    elif any(is_kind(raw.type) for is_kind in _NAMELESS):
        raise place.column_refusal(f"holds {raw.type}, which names no classes; convert it to text or whole numbers")
    _verify_not_empty(raw, place)
    values = [text_of(value) for value in raw.to_pylist()]
    if not may_miss:
        _verify_complete(np.array([value is None for value in values]), place)
    return values


def text_of(value: object) -> str | None:
    """Return the name that a value stands for: ``1`` and ``1.0`` are both "1"; None and NaN are no name."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def times(raw: Any, place: Place) -> NDArray[np.float64]:  # noqa: ANN401
    """Return a column that orders the rows, ``(n_rows,) float64``: numbers as they are, dates as UTC seconds.

    Raises:
        DataError: a missing value, or a text that is neither a number nor a date of ISO 8601.
    """
    if pa.types.is_timestamp(raw.type) or pa.types.is_date(raw.type):
        _verify_complete(np.asarray(raw.is_null()), place)
        return np.asarray(pc.cast(pc.cast(raw, pa.timestamp("us"), safe=False), pa.int64()), dtype=np.float64) / 1e6
    if not _is_text(raw.type):
        return numbers(raw, place, may_miss=False)
    raw = _blank_to_null(raw)
    _verify_complete(np.asarray(raw.is_null()), place)
    try:
        return numbers(raw, place, may_miss=False)
    except DataError:
        first = raw.slice(0, 1)
        if _casts(first, lambda part: pc.cast(part, pa.float64())):
            raise  # a column of numbers: its bad value is the one that was told
        # All without a zone, which are taken for UTC, or all with one.
        kind = pa.timestamp("us") if _casts(first, lambda part: pc.cast(part, pa.timestamp("us"))) else _UTC
        parsed = _first_failing(
            raw, place, lambda part: pc.cast(part, kind), "is neither a number nor an ISO date like the first one"
        )
    return np.asarray(pc.cast(parsed, pa.int64()), dtype=np.float64) / 1e6


def category_codes(values: Sequence[str | None], feature: Feature, place: Place) -> NDArray[np.float64]:
    """Return the index of each category, NaN where missing.

    Raises:
        DataError: a category that the project does not declare.
    """
    return _codes(values, feature.categories, place, f"declare it in the categories of feature {feature.name!r}")


def label_codes(values: Sequence[str | None], labels: Sequence[str], place: Place) -> NDArray[np.float64]:
    """Return the index of each label; raise DataError for one that is not among ``labels``."""
    return _codes(values, labels, place, "add it to target.labels, or mend the row")


def found_labels(values: Sequence[str | None]) -> tuple[str, ...]:
    """Return the labels that occur, whole numbers by value, other names by the alphabet."""
    found = {value for value in values if value is not None}
    try:
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(found))


def _codes(values: Sequence[str | None], names: Sequence[str], place: Place, advice: str) -> NDArray[np.float64]:
    index = {name: float(code) for code, name in enumerate(names)}
    for number, value in enumerate(values):
        if value is not None and value not in index:
            raise place.refusal(number, f"{value!r} is none of {', '.join(map(repr, names))[:300]}; {advice}")
    return np.array([math.nan if value is None else index[value] for value in values], dtype=np.float64)


def _is_text(arrow_type: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _blank_to_null(raw: Any) -> Any:  # noqa: ANN401
    trimmed = pc.utf8_trim_whitespace(raw)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING_TEXTS, type=trimmed.type)), None, trimmed)


def _parsed(raw: Any, place: Place) -> NDArray[np.float64]:  # noqa: ANN401
    if _is_text(raw.type):
        raw = _first_failing(raw, place, lambda part: pc.cast(part, pa.float64()), "is not a number")
    else:
        raw = pc.cast(raw, pa.float64(), safe=False)
    return np.array(raw.to_numpy(zero_copy_only=False), dtype=np.float64)


def _first_failing(raw: Any, place: Place, cast: Callable[[Any], Any], problem: str) -> Any:  # noqa: ANN401
    """Cast a column; where Arrow refuses it, find the first value that it refuses."""
    try:
        return cast(raw)
    except pa.ArrowInvalid as error:
        low, high = 0, len(raw)
        while high - low > 1:  # the first failing value lies in [low, high)
            middle = (low + high) // 2
            if _casts(raw.slice(low, middle - low), cast):
                low = middle
            else:
                high = middle
        raise place.refusal(low, f"{raw[low].as_py()!r} {problem}; mend it or leave it empty") from error


def _casts(part: Any, cast: Callable[[Any], Any]) -> bool:  # noqa: ANN401
    try:
        cast(part)
    except pa.ArrowInvalid:
        return False
    return True


def _verify_not_empty(raw: Any, place: Place) -> None:  # noqa: ANN401
    if len(raw) and (raw.null_count == len(raw) or pc.all(pc.is_null(raw, nan_is_null=True)).as_py()):
        raise place.column_refusal(f"all {len(raw)} values are empty; fill it, or leave it out of the project")


def _verify_complete(missing: NDArray[np.bool_], place: Place) -> None:
    gaps = np.flatnonzero(missing)
    if gaps.size:
        advice = 'fill it or drop the rows (a feature may be missing with on_missing = "flag")'
        raise place.refusal(int(gaps[0]), f"no value ({gaps.size} such rows); {advice}")
