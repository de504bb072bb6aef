"""Reads a CSV or Parquet file as an Arrow table of raw columns; refuses rows that do not fit the header."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainer.errors import DataError

_DELIMITERS: Final = ",;\t|"
_QUOTED: Final = re.compile(r'"[^"]*"')
_PARQUET_MAGIC: Final = b"PAR1"


def read_raw(path: Path) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Read a file: CSV columns as text, Parquet columns as they are stored.

    Raises:
        DataError: unreadable, empty, without data rows, two columns of one name, or a row of another length than the
            header (the usual case: a header one name short).
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}; check data.path in the project file"
        raise DataError(msg) from error
    table = _read_parquet(path) if magic == _PARQUET_MAGIC else _read_csv(path)
    if table.num_rows == 0:
        msg = f"{path}: there is a header but no row of data"
        raise DataError(msg)
    return table


def read_joined(paths: Sequence[Path]) -> tuple[Any, tuple[tuple[int, Path], ...]]:
    """Read several files as one table, one after the other.

    Returns:
        The table, and for each file but the first the place of its first row and its path (`columns.Place.later`).

    Raises:
        DataError: as `read_raw`, or a file has other columns than the first one, or one of another type.
    """
    first, *others = paths
    table, later = read_raw(first), []
    for path in others:
        part = read_raw(path)
        _verify_same_columns(first, table, path, part)
        later.append((table.num_rows, path))
        table = pa.concat_tables([table, part.select(table.column_names)])
    return table, tuple(later)


def _verify_same_columns(first: Path, table: Any, path: Path, part: Any) -> None:  # noqa: ANN401
    missing = [name for name in table.column_names if name not in part.column_names]
    if missing:
        raise DataError(f"{path}: there is no column {missing[0]!r}, which {first} has; files of a project are alike")
    further = [name for name in part.column_names if name not in table.column_names]
    if further:
        raise DataError(f"{path}: the column {further[0]!r} is not in {first}; files of a project are alike")
    for name in table.column_names:
        theirs, ours = part.schema.field(name).type, table.schema.field(name).type
        if theirs != ours:
            raise DataError(f"{path}: column {name!r} holds {theirs}, in {first} it holds {ours}; convert one of them")


def _read_parquet(path: Path) -> Any:  # noqa: ANN401
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        msg = f"{path}: not a readable Parquet file: {error}"
        raise DataError(msg) from error


def _read_csv(path: Path) -> Any:  # noqa: ANN401
    header, delimiter = _header_of(path)
    if not any(name.strip() for name in header):
        msg = f"{path}: the file is empty"
        raise DataError(msg)
    wrong: list[tuple[int, int]] = []

    def note(row: Any) -> str:  # noqa: ANN401
        wrong.append((row.number, row.actual_columns))
        return "skip"

    try:
        table = pa_csv.read_csv(
            path,
            # One thread: Arrow numbers the rows that it refuses only then.
            read_options=pa_csv.ReadOptions(use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        msg = f"{path}: not a readable CSV file in UTF-8: {error}"
        raise DataError(msg) from error
    if wrong:
        number, columns = wrong[0]
        raise _wrong_length(path, header, number - 2, columns, every_row=table.num_rows == 0)
    return table


def _header_of(path: Path) -> tuple[list[str], str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Arrow, too, passes over empty lines.
            first = next((line for line in file if line.strip("\r\n")), "")
            delimiter = max(_DELIMITERS, key=_QUOTED.sub("", first).count)
            file.seek(0)
            header = next((names for names in csv.reader(file, delimiter=delimiter) if names), [])
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: not a CSV file in UTF-8: {error}"
        raise DataError(msg) from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        msg = f"{path}: two columns are named {twice[0]!r} in the header; rename one"
        raise DataError(msg)
    return header, delimiter


def _wrong_length(path: Path, header: list[str], row: int, columns: int, *, every_row: bool) -> DataError:
    if every_row and columns == len(header) + 1:
        return DataError(
            f"{path}: header one name short: it has {len(header)} names, but row {row} has {columns} values; "
            f"the unnamed column is most likely the first (before {header[0]!r}): name it in the header line"
        )
    return DataError(
        f"{path}: row {row} has {columns} values, but the header has {len(header)} names; mend or remove that row"
    )
