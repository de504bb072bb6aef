"""Replays the rows of a CSV file as if they came from a sensor: every ``step``-th one, at a given pace."""

import csv
import itertools
import threading
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import SourceError
from edge_agent.scoring.schema import RawRow, Unreadable
from edge_agent.sensing.source import SourceRow, take_ready


class CsvReplay:
    """A CSV file with a header; implements `edge_agent.sensing.source.Source`.

    The number of a row is its place among the file's rows, 0 for the first one below the header. A quoted value may run
    over several lines. Where that makes no row, a quote was opened by mistake: each of these lines is a row of its own
    again, so that one stray quote costs its own line only.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        clock: Clock,
        *,
        first_row: int = 0,
        step: int = 1,
        end_row: int | None = None,
        rows_per_second: float | None = None,
        cursor: int = 0,
    ) -> None:
        """Open ``path``, check its header, and go to the first row that is due.

        Args:
            path: the file, UTF-8.
            columns: the names of the features, in the manifest's order; the file may have more columns, in any order.
            clock: paces the rows.
            first_row: number of the first row of this replay.
            step: distance from one row of this replay to the next.
            end_row: number of the first row that is not replayed; None: to the end of the file.
            rows_per_second: pace; None: as fast as they are asked for.
            cursor: number of the first row that is not yet counted.

        Raises:
            SourceError: unreadable, or its header does not fit; the message names file and column.
        """
        if step < 1 or first_row < 0 or (rows_per_second is not None and rows_per_second <= 0):
            msg = f"{path}: step and rows_per_second must be positive, and first_row must not be negative"
            raise SourceError(msg)
        self._path = path
        self._end_row = end_row
        self._interval_s = 0.0 if rows_per_second is None else 1.0 / rows_per_second
        self._clock = clock
        self._closed = threading.Event()
        # The number of the next row of this replay, at or after the cursor.
        self._next = first_row + max(0, -(-(cursor - first_row) // step)) * step
        self._step = step
        self._pending: SourceRow | None = None
        self._at_end = False
        try:
            # Bytes that are no UTF-8 spoil their row, not the replay.
            self._file = path.open(encoding="utf-8-sig", errors="replace", newline="")
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror or error}"
            raise SourceError(msg) from error
        try:
            self._width = 0
            self._rows = self._read_rows()
            header = self._read_header()
            _verify_columns(path, header, columns)
            self._width = len(header)
            places = [header.index(name) for name in columns]
            self._pick = itemgetter(*places) if len(places) > 1 else lambda row, place=places[0]: (row[place],)
            self._numbered = self._number_rows()
            self._pending = next(self._numbered, None)
        except BaseException:
            self._file.close()
            raise
        self._at_end = self._pending is None
        self._due_s = clock.monotonic_s()

    @property
    def at_end(self) -> bool:
        """Whether the replay is over."""
        return self._at_end

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the next row once it is due; see `Source.next_row`."""
        row = self._pending
        if row is None or self._closed.is_set():
            return None
        if self._interval_s:
            wait_s = self._due_s - self._clock.monotonic_s()
            if wait_s > 0 and (self._closed.wait(min(wait_s, timeout_s)) or self._due_s > self._clock.monotonic_s()):
                return None
            self._due_s += self._interval_s
        self._pending = next(self._numbered, None)
        self._at_end = self._pending is None
        return row

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return the rows that are there; see `Source.ready_rows`."""
        return take_ready(self, limit)

    def close(self) -> None:
        """End the replay."""
        self._closed.set()
        self._at_end = True
        self._pending = None
        self._file.close()

    def _read_header(self) -> list[str]:
        header = next(self._rows, None)
        if header is None:
            msg = f"{self._path}: empty file; its first line must name the columns"
            raise SourceError(msg)
        if not header:
            msg = f"{self._path}: its first line is no header; it must name the columns, and close every quote"
            raise SourceError(msg)
        return [name.strip() for name in header]

    def _number_rows(self) -> Iterator[SourceRow]:
        """Yield the rows of this replay; the first row of the file tells whether the header fits at all."""
        for number, fields in enumerate(self._rows):
            if number == 0 and len(fields) != self._width and fields:
                msg = (
                    f"{self._path}: row 0 has {len(fields)} values, the header names {self._width} columns; "
                    "correct the header: every column needs a name"
                )
                raise SourceError(msg)
            if self._end_row is not None and number >= self._end_row:
                return
            if number == self._next:
                self._next += self._step
                yield SourceRow(number, self._values_of(fields))

    def _read_rows(self) -> Iterator[list[str]]:
        """Yield the fields of one row after the other, none for a row that is no CSV."""
        # The second reader of the lines lags behind the first, for lines that turn out to be no row together.
        lines, lines_again = itertools.tee(self._file)
        reader = csv.reader(lines, strict=True)
        n_read = 0
        while True:
            try:
                fields = next(reader, [])
            except csv.Error:
                fields = []
            except OSError as error:
                msg = f"{self._path}: cannot be read any more: {error.strerror or error}"
                raise SourceError(msg) from error
            n_lines = reader.line_num - n_read
            n_read += n_lines
            if fields and n_lines == 1:
                next(lines_again)
                yield fields
            elif n_lines:
                together = list(itertools.islice(lines_again, n_lines))
                is_row = fields and len(fields) == (self._width or len(fields))
                yield from [fields] if is_row else map(_fields_of, together)
            else:
                return

    def _values_of(self, fields: list[str]) -> RawRow:
        values: tuple[str, ...] | Unreadable = self._pick(fields) if len(fields) == self._width else Unreadable()
        return values


def _fields_of(line: str) -> list[str]:
    """Return the fields of one line alone, none where it is no row."""
    # A quote that is still open at the end of the line takes the next one too.
    reader = csv.reader((line, "\n"))
    try:
        fields = next(reader)
    except csv.Error:
        return []
    return fields if reader.line_num == 1 else []


def _verify_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        msg = (
            f"{path}: no column {missing[0]!r}{f' and {len(missing) - 1} more' if missing[1:] else ''}; "
            f"its header names {', '.join(header[:20])}{', …' if header[20:] else ''}: "
            "name the columns as the bundle's features, or set source.columns"
        )
        raise SourceError(msg)
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        msg = f"{path}: column {twice[0]!r} stands {header.count(twice[0])} times in the header; give each its own name"
        raise SourceError(msg)
