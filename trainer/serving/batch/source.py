"""Reads a Parquet or CSV file as parts of a fixed number of rows, from any part on, holding about one of them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from trainer.errors import DataError

# Arrow ships no types: tables, batches and schemas are Any.
# ruff: noqa: ANN401

_PARQUET_MAGIC: Final = b"PAR1"
_READ_BYTES: Final = 1 << 20
_CSV_BLOCK_BYTES: Final = 1 << 22
_DIGITS: Final = re.compile(r"#(\d+)")


class FileRows:
    """A file of rows.

    Attributes:
        columns: type by name, as the file has them; all text in CSV.
        n_rows: how many; None where only reading it all would tell.
        is_text: whether numbers are text here.
    """

    def __init__(self, path: Path) -> None:
        """Look at the head of a file.

        Raises:
            DataError: it cannot be read, or has two columns of one name.
        """
        self._path = path
        self.is_text = not _is_parquet(path)
        try:
            schema = self._open_csv(None).schema if self.is_text else pq.read_schema(path)
            self.n_rows = None if self.is_text else int(pq.read_metadata(path).num_rows)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
        names = schema.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{path}: two columns are named {twice[0]!r}; rename one")
        self.columns: dict[str, Any] = {field.name: field.type for field in schema}

    def parts(self, columns: Sequence[str], n_rows: int, first: int) -> Iterator[Any]:
        """Read parts of ``n_rows`` rows each, the last one of fewer.

        Args:
            columns: that are wanted.
            n_rows: of a part.
            first: number of the first part that is wanted.

        Raises:
            DataError: the file cannot be read further; the message says where.
        """
        try:
            yield from _cut(self._batches(columns, n_rows * first), n_rows)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self._path, error) from error

    def _batches(self, columns: Sequence[str], start: int) -> Iterator[Any]:
        reader = self._open_csv(columns) if self.is_text else self._parquet_batches(columns, start)
        # In CSV no row can be found but by reading those before it.
        skip = start if self.is_text else next(reader)
        for batch in reader:
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            yield batch.slice(skip)
            skip = 0

    def _parquet_batches(self, columns: Sequence[str], start: int) -> Iterator[Any]:
        """Give how many rows of the first batches are too many, and then batches."""
        # Column chunks are read a megabyte at a time: a row group may be as large as its file.
        with pq.ParquetFile(self._path, buffer_size=_READ_BYTES, pre_buffer=False) as file:
            groups = list(range(file.metadata.num_row_groups))
            while groups and file.metadata.row_group(groups[0]).num_rows <= start:
                start -= file.metadata.row_group(groups.pop(0)).num_rows
            yield start
            if groups:
                yield from file.iter_batches(1 << 16, groups, list(columns), use_threads=False)

    def _open_csv(self, columns: Sequence[str] | None) -> Any:
        names = _header_of(self._path)
        return pa_csv.open_csv(
            self._path,
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                include_columns=list(columns) if columns is not None else None,
            ),
        )


def _cut(batches: Iterator[Any], n_rows: int) -> Iterator[Any]:
    """Give tables of ``n_rows`` rows each, the last one of fewer."""
    held: list[Any] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += batch.num_rows
        while n_held >= n_rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, n_rows)
            # What is empty still holds all memory of the batch that it is the end of.
            held = [batch for batch in table.slice(n_rows).to_batches() if batch.num_rows]
            n_held -= n_rows
    if n_held:
        yield pa.Table.from_batches(held)


def _header_of(path: Path) -> list[str]:
    """Return the names of a CSV file's columns."""
    reader = pa_csv.open_csv(path, read_options=pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES))
    names: list[str] = reader.schema.names
    reader.close()
    return names


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    # Arrow counts the header as row 1.
    told = _DIGITS.sub(lambda found: f"line {found[1]}", str(error))
    return DataError(f"{path}: cannot be read as CSV or Parquet: {told}")
