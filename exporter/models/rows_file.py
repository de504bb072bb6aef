"""Reads rows for a model, with their truth if they have one; refuses by row and column what the model cannot take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature, Rule
from exporter.errors import RowsError
from exporter.models.model import Rows
from exporter.models.table_file import Cell, Table, load_table

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model says of the rows that it takes.

    Attributes:
        names: of its columns, in their order; None: it was trained without, so a file's order counts.
        n_columns: how many it takes; None: as many as there are.
        texts: the categories that it knows, of the columns in which it takes texts.
    """

    names: tuple[str, ...] | None = None
    n_columns: int | None = None
    texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of a file.

    Attributes:
        features: the model's columns, in its order; those with empty cells may be missing on a device.
        rows: ``(n, n_features) float32``; NaN where a cell is empty, or a text that the model never met.
        truth: ``(n,)``: the target's cells; None without a target.
    """

    features: tuple[Feature, ...]
    rows: Rows
    truth: tuple[Cell, ...] | None


def load_rows(path: Path, target: str | None, wanted: Wanted | None = None) -> LabelledRows:
    """Read a file of rows.

    Args:
        path: CSV with a header, or Parquet.
        target: column of the truth; None: there is none.
        wanted: what the model takes; None: every column besides the target, as numbers.

    Raises:
        RowsError: see `exporter.models.table_file`; no such target, a target without truth, columns that the model does
            not take or does not find, or text in a column of numbers.
    """
    wanted = wanted or Wanted()
    table = load_table(path)
    truth = None if target is None else _truth_in(table, target, path)
    names = _names_in(table, target, wanted, path)
    columns, features = [], []
    for place, name in enumerate(names):
        texts = wanted.texts.get(place)
        column = (
            _numbers_of(table.columns[name], path, name) if texts is None else _indices_of(table.columns[name], texts)
        )
        rule: Rule = "flag" if np.isnan(column).any() else "refuse"
        is_text = texts is not None
        columns.append(column)
        features.append(
            Feature(name, dtype="category" if is_text else "float32", categories=texts or (), on_missing=rule)
        )
    return LabelledRows(tuple(features), np.stack(columns, axis=1), truth)


def truth_of(truth: tuple[Cell, ...], labels: tuple[str, ...], path: Path) -> NDArray[np.float64]:
    """Return truths as indices of the labels, or as values when there are none.

    Raises:
        RowsError: a truth that is neither a label nor a number.
    """
    if not labels:
        return np.array([_number(cell, path, n, "target") for n, cell in enumerate(truth, start=1)])
    index = {name: float(i) for i, label in enumerate(labels) for name in _spellings_of(label)}
    found = [_first(index, _text(cell)) for cell in truth]
    for number, (cell, place) in enumerate(zip(truth, found, strict=True), start=1):
        if place is None:
            raise RowsError(f"{path}: row {number}: {cell!r} is not a label of the model: {', '.join(labels[:10])}")
    return np.array(found, dtype=np.float64)


def anomalies_of(truth: tuple[Cell, ...], path: Path) -> NDArray[np.float64]:
    """Return 1 for an anomaly, else 0.

    Raises:
        RowsError: truths that are neither 1 and 0 nor, as scikit-learn predicts, -1 and 1; or only 1, which is either.
    """
    found = np.array([_number(cell, path, n, "target") for n, cell in enumerate(truth, start=1)])
    values = set(found.tolist())
    if values <= {0.0, 1.0} and values != {1.0}:
        return found
    if values <= {-1.0, 1.0} and values != {1.0}:
        return (found < 0).astype(np.float64)
    raise RowsError(
        f"{path}: truths are {', '.join(f'{value:g}' for value in sorted(values)[:5])}; write 1 for an anomaly and 0 "
        "for others, or -1 and 1 as scikit-learn predicts"
    )


def _truth_in(table: Table, target: str, path: Path) -> tuple[Cell, ...]:
    if target not in table.columns:
        raise RowsError(f"{path}: no column {target!r}; there are: {', '.join(table.columns)}")
    truth = table.columns[target]
    if None in truth:
        raise RowsError(
            f"{path}: row {truth.index(None) + 1}, column {target!r}: empty; every row needs its truth, or none does"
        )
    return truth


def _names_in(table: Table, target: str | None, wanted: Wanted, path: Path) -> list[str]:
    found = [name for name in table.columns if name != target]
    besides = "" if target is None else f" besides {target!r}"
    if wanted.names is not None:
        absent = [name for name in wanted.names if name not in found]
        if absent:
            raise RowsError(
                f"{path}: no column {', '.join(map(repr, absent[:5]))}, which the model takes; there are: "
                f"{', '.join(found[:20])}"
            )
        return list(wanted.names)
    if wanted.n_columns not in {None, len(found)}:
        hint = (
            "; name the truth's column with --target" if target is None and len(found) == wanted.n_columns + 1 else ""
        )
        raise RowsError(f"{path}: {len(found)} columns{besides}, the model takes {wanted.n_columns}{hint}")
    if not found:
        raise RowsError(f"{path}: no column{besides}")
    return found


def _numbers_of(column: tuple[Cell, ...], path: Path, name: str) -> NDArray[np.float32]:
    numbers = np.array([_number(cell, path, n, name) for n, cell in enumerate(column, start=1)])
    too_large = np.abs(np.nan_to_num(numbers, posinf=np.inf, neginf=-np.inf)) > _FLOAT32_MAX
    if too_large.any():
        row = int(np.argmax(too_large))
        raise RowsError(f"{path}: row {row + 1}, column {name!r}: {column[row]} is more than float32 holds")
    return numbers.astype(np.float32)


def _indices_of(column: tuple[Cell, ...], texts: tuple[str, ...]) -> NDArray[np.float32]:
    index = {text: float(i) for i, text in enumerate(texts)}
    names = [_text(cell) for cell in column]
    # As on a device: a text that the model never met is taken for missing.
    return np.array([index.get(name, index.get(name.strip(), np.nan)) for name in names], dtype=np.float32)


def _number(cell: Cell, path: Path, row: int, column: str) -> float:
    if cell is None:
        return float("nan")
    try:
        return float(cell)
    except ValueError as error:
        raise RowsError(f"{path}: row {row}, column {column!r}: {str(cell)[:40]!r} is not a number") from error


def _text(cell: Cell) -> str:
    """Return a cell as a name is written: 3 for 3.0."""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else str(cell)
    return "" if cell is None else cell


def _first(index: Mapping[str, float], text: str) -> float | None:
    """Return the index of a label, as it is written or as the number that it is."""
    name = text.strip()
    if name in index:
        return index[name]
    try:
        return index.get(_text(float(name)))
    except ValueError:
        return None


def _spellings_of(label: str) -> set[str]:
    """Return how a file may write a label: 1 and 1.0 are one number; true and 1 are True."""
    spellings = {label}
    if label in {"True", "False"}:
        return {label, label.lower(), label.upper(), str(int(label == "True")), f"{int(label == 'True')}.0"}
    try:
        number = float(label)
    except ValueError:
        return spellings
    return spellings | {str(number), _text(number)}
