"""Reads rows with their truth from a CSV file with a header, and refuses what is no number by row and column."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from exporter.errors import RowsError
from exporter.model import Rows


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Rows of a file.

    Attributes:
        features: the columns besides the target, in their order; those with empty cells may be missing on a device.
        rows: ``(n, n_features) float32``; NaN where a cell is empty.
        truth: ``(n,)``: the target's text.
    """

    features: tuple[Feature, ...]
    rows: Rows
    truth: tuple[str, ...]


def load_rows(path: Path, target: str) -> LabelledRows:
    """Read a CSV file.

    Raises:
        RowsError: unreadable, no such target, no row, a row of another length than the header, or text in a feature.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RowsError(f"{path}: cannot be read as CSV: {error}") from error
    if target not in header:
        raise RowsError(f"{path}: no column {target!r}; there are: {', '.join(header)}")
    if not lines:
        raise RowsError(f"{path}: a header, but no row")
    place = header.index(target)
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise RowsError(f"{path}: row {number} has {len(line)} cells, the header has {len(header)}")
        if not line[place].strip():
            raise RowsError(f"{path}: row {number}, column {target!r}: empty; every row needs its truth")
    names = [name for name in header if name != target]
    columns = [i for i, name in enumerate(header) if name != target]
    values = np.array(
        [[_number(line[i], path, n, header[i]) for i in columns] for n, line in enumerate(lines, start=1)]
    )
    rows = values.astype(np.float32)
    has_missing = [bool(np.isnan(column).any()) for column in rows.T]
    features = tuple(
        Feature(name, on_missing="flag" if missing else "refuse")
        for name, missing in zip(names, has_missing, strict=True)
    )
    return LabelledRows(features, rows, tuple(line[place].strip() for line in lines))


def truth_of(rows: LabelledRows, labels: tuple[str, ...], path: Path) -> NDArray[np.float64]:
    """Return the truth as indices of the labels, or as values when there are none.

    Raises:
        RowsError: a truth that is neither a label nor a number.
    """
    if not labels:
        return np.array([_number(text, path, n, "target") for n, text in enumerate(rows.truth, start=1)])
    index = {label: float(i) for i, label in enumerate(labels)}
    for number, text in enumerate(rows.truth, start=1):
        if text not in index:
            raise RowsError(f"{path}: row {number}: {text!r} is not a label of the model: {', '.join(labels[:10])}")
    return np.array([index[text] for text in rows.truth])


def _number(text: str, path: Path, row: int, column: str) -> float:
    if not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError as error:
        raise RowsError(f"{path}: row {row}, column {column!r}: {text[:40]!r} is not a number") from error
