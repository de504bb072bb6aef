"""Encodes many rows at once as `edge_agent.scoring.schema` says, column by column.

What is plainly good is done here in one go. A row with anything unusual in it is put before the rules themselves, one
by one, so that they stand in one place: a row is refused, and its refusal worded, exactly as on a device.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edge_agent.bundle import Manifest
from edge_agent.errors import RowError
from edge_agent.scoring.schema import RawRow, RowEncoder, Rule
from trainer.errors import DataError

# Arrow ships no types: tables and columns are Any.
# ruff: noqa: ANN401

_FLOAT32_MAX: Final = np.float64(np.finfo(np.float32).max)
# Of texts that are numbers to Arrow and to Python alike.
_PLAIN_NUMBER: Final = r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$"


class BlockEncoder:
    """Encodes blocks of rows of one bundle."""

    def __init__(self, manifest: Manifest) -> None:
        self._encoder = RowEncoder(manifest)
        self._names = [rule.name for rule in self._encoder.rules]

    def encode(self, rows: Any, into: NDArray[np.float32]) -> dict[int, RowError]:
        """Encode a table.

        Args:
            rows: ``(n_rows,)`` with a column for every feature.
            into: ``(n_rows, n_features) float32``; filled, with NaN in rows that are refused.

        Returns:
            By place, why a row is refused.
        """
        unusual = np.zeros(len(into), dtype=bool)
        columns = [_whole(rows[name]) for name in self._names]
        for place, (rule, column) in enumerate(zip(self._encoder.rules, columns, strict=True)):
            numbers, is_odd = _encode_column(column, rule)
            unusual |= is_odd
            # What float32 cannot hold is unusual.
            with np.errstate(over="ignore", invalid="ignore"):
                into[:, place] = numbers
        refused: dict[int, RowError] = {}
        for place, raw in _rows_of(columns, np.flatnonzero(unusual)):
            try:
                into[place] = self._encoder.encode(raw).values
            except RowError as error:
                into[place] = np.nan
                # Its traceback holds this frame, which holds it and the whole block.
                refused[place] = error.with_traceback(None)
        return refused


def verify_columns(manifest: Manifest, columns: dict[str, Any], where: str, *, is_text: bool) -> None:
    """Check that a file has a column of a type that fits for every feature.

    Args:
        manifest: says the features.
        columns: type by name.
        where: names the file.
        is_text: whether numbers are text in it.

    Raises:
        DataError: one is missing, or of another type; the message names all of them.
    """
    problems = []
    for feature in manifest.features:
        found = columns.get(feature.name)
        if found is None:
            problems.append(f"column {feature.name!r} is missing")
        elif not is_text and not _fits(found, is_category=feature.dtype == "category"):
            wanted = "text or whole numbers" if feature.dtype == "category" else "numbers"
            problems.append(f"column {feature.name!r} is of type {found}, the feature takes {wanted}")
    if problems:
        raise DataError(f"{where} does not fit {manifest.ref}: {'; '.join(problems)}")


def _fits(kind: Any, *, is_category: bool) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    looks = [types.is_integer, types.is_floating, types.is_null]
    looks += [types.is_string, types.is_large_string] if is_category else [types.is_decimal]
    return any(look(kind) for look in looks)


def _encode_column(column: Any, rule: Rule) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return ``(n,)`` numbers, and where the rules themselves must be asked."""
    if rule.categories is not None:
        return _encode_categories(column, rule.categories, refuses_missing=rule.refuses_missing)
    if pa.types.is_string(column.type):
        numbers, is_odd = _numbers_of_text(column)
    else:
        is_plain = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        numbers = (column if is_plain else pc.cast(column, pa.float64())).to_numpy(zero_copy_only=False)
        is_odd = np.zeros(len(numbers), dtype=bool)
    # Scalars of float64, so that nothing is rounded to float32 before it is compared.
    is_good = (numbers >= np.float64(rule.low)) & (numbers <= np.float64(rule.high))
    if not is_good.all():
        is_missing = np.isnan(numbers)
        is_good |= is_missing if not rule.refuses_missing else False
        if not rule.refuses_out_of_range:
            is_good |= np.abs(numbers) <= _FLOAT32_MAX
    return numbers, is_odd | ~is_good


def _numbers_of_text(column: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    try:
        numbers = pc.cast(text, pa.float64())
    except pa.ArrowInvalid:
        is_plain = pc.match_substring_regex(text, _PLAIN_NUMBER)
        numbers = pc.cast(pc.if_else(is_plain, text, None), pa.float64())
    values: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    # A text that gave no number may be one to the rules, or an error.
    return values, np.isnan(values) & text.is_valid().to_numpy(zero_copy_only=False)


def _encode_categories(
    column: Any, categories: dict[str, float], *, refuses_missing: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    known = [
        categories.get(name, np.nan) if isinstance(name, str) else np.nan for name in encoded.dictionary.to_pylist()
    ]
    # The last one stands for what is missing.
    index_of = np.array([*known, np.nan])
    places = pc.fill_null(pc.cast(encoded.indices, pa.int64()), len(known)).to_numpy(zero_copy_only=False)
    numbers = index_of[places]
    is_unknown = np.isnan(numbers)
    return numbers, is_unknown if refuses_missing else is_unknown & (places < len(known))


def _whole(column: Any) -> Any:
    """Return a column in one piece."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _rows_of(columns: list[Any], places: NDArray[np.intp]) -> Iterator[tuple[int, RawRow]]:
    if not len(places):
        return
    taken = pa.array(places)
    values = [_raw(column.take(taken)) for column in columns]
    for place, *raw in zip(places.tolist(), *values, strict=True):
        yield place, raw


def _raw(column: Any) -> list[Any]:
    is_decimal = pa.types.is_decimal(column.type)
    values: list[Any] = (pc.cast(column, pa.float64()) if is_decimal else column).to_pylist()
    return values
