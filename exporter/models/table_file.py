"""Reads the cells of a file of rows, CSV or Parquet (by its first bytes), and knows nothing of models."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from exporter.errors import RowsError

# What a cell holds: text as it stands, a number, or None where it is empty.
Cell: TypeAlias = str | float | None

_PARQUET: Final = b"PAR1"
MAX_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a file, by name, in its order; all of one length."""

    columns: dict[str, tuple[Cell, ...]]

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))


def load_table(path: Path) -> Table:
    """Read a CSV file with a header, or a Parquet file.

    Raises:
        RowsError: unreadable, too large, without a row, a row of another length than the header, a name twice, or a
            column of something that is neither a number nor a text.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RowsError(f"{path}: larger than the {MAX_BYTES} bytes that are read; a sample of the rows will do")
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise RowsError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _load_parquet(path) if is_parquet else _load_csv(path)


def _load_csv(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RowsError(f"{path}: cannot be read as CSV: {error}") from error
    _verify(path, header, len(lines))
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise RowsError(f"{path}: row {number} has {len(line)} cells, the header has {len(header)}")
    cells = zip(*lines, strict=True)
    columns = zip(header, cells, strict=True)
    return Table({name: tuple(cell if cell.strip() else None for cell in column) for name, column in columns})


def _load_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only for those who have such files
        import pyarrow.parquet as pq  # noqa: PLC0415 - as above
    except ImportError as error:
        raise RowsError(f"{path}: a Parquet file, which needs the package pyarrow; or write the rows as CSV") from error
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RowsError(f"{path}: cannot be read as Parquet: {error}") from error
    _verify(path, table.column_names, table.num_rows)
    columns = zip(table.column_names, table.columns, strict=True)
    return Table({name: _cells_of(path, name, column, pa.types) for name, column in columns})


def _cells_of(path: Path, name: str, column: Any, types: Any) -> tuple[Cell, ...]:  # noqa: ANN401 - pyarrow ships no types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    cells = column.to_pylist()
    if types.is_string(kind) or types.is_large_string(kind):
        return tuple(cell if cell is None or cell.strip() else None for cell in cells)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return tuple(None if cell is None else float(cell) for cell in cells)
    raise RowsError(f"{path}: column {name!r} holds {column.type}, which is neither a number nor a text")


def _verify(path: Path, names: list[str], n_rows: int) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise RowsError(f"{path}: two columns are called {twice[0]!r}")
    if not names:
        raise RowsError(f"{path}: no header")
    if n_rows == 0:
        raise RowsError(f"{path}: a header, but no row")
