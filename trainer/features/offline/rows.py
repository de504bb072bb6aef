"""Keeps the rows of views as Parquet: ``rows/<view>`` all of them, ``series/<view>`` those that count.

A push adds one file with what is new in it, and pushing the same again adds nothing, so that a push that was killed is
simply made again. The series has the name of the rows that it was made of, so that a reader never takes an old one.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from edge_agent.clock import Clock
from trainer.errors import DataError
from trainer.features.offline.series import KNOWN, PART, ROW, known_sql, new_rows_sql, series_sql
from trainer.features.offline.spool import Spooled
from trainer.features.offline.typed import schema_of
from trainer.features.storage.address import StoreFiles
from trainer.features.views.view import FeatureView

_ROWS: Final = "rows"
_SERIES: Final = "series"
_KEPT_SERIES: Final = 2
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of a push: how many rows were given, and how many of them said something new."""

    given: int
    added: int


class ViewRows:
    """The rows of all views of one store."""

    def __init__(self, files: StoreFiles, clock: Clock, through: Mapping[str, int] | None = None) -> None:
        """Give it the files, the time, and of views the last push that counts; of one not named all of them do."""
        self._files = files
        self._clock = clock
        self._through = through or {}

    def push(self, spooled: Spooled) -> Pushed:
        """Add rows of a view, and make the series that counts anew.

        Raises:
            DataError: the store cannot be read or written.
        """
        view = spooled.view
        with self.connection() as connection:
            names = tuple(feature.name for feature in view.features)
            stored = self._read(connection, view, self.parts(view.name))
            given = f"(SELECT * FROM {read_parquet((str(spooled.path),))})"  # noqa: S608 - the path is quoted
            new = connection.sql(new_rows_sql(given, stored, view.keys, names)).to_arrow_table()
        if new.num_rows:
            self._add_part(view, new)
        self.series(view)
        return Pushed(spooled.rows, new.num_rows)

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the files of all rows of a view that count, the oldest first."""
        found = self._files.list(f"{_ROWS}/{name}/*.parquet")
        if name not in self._through:
            return found
        return tuple(path for path in found if part_number(path) <= self._through[name])

    def last_push(self, name: str) -> int:
        """Return the number of the last push to a view; 0: there was none."""
        parts = self.parts(name)
        return part_number(parts[-1]) if parts else 0

    def newest_known_us(self, view: FeatureView) -> int | None:
        """Return when the newest row of a view became known, in microseconds since 1970; None: there is no row."""
        with self.connection() as connection:
            rows = self._read(connection, view, self.parts(view.name))
            found = connection.sql(f"SELECT epoch_us(max({KNOWN})) AS newest FROM {rows}").to_arrow_table()  # noqa: S608 - names are our own
        newest = found.column("newest")[0].as_py()
        return None if newest is None else int(newest)

    def digest(self, view: FeatureView) -> str:
        """Return the name of what a view holds now: it changes with rows and features."""
        features = ",".join(f"{feature.name}:{feature.dtype}" for feature in view.features)
        return hashlib.sha256("\n".join((features, *self.parts(view.name))).encode()).hexdigest()[:32]

    def series(self, view: FeatureView) -> str:
        """Return the address of the series that counts, made now if rows came since."""
        path = f"{_SERIES}/{view.name}/{self.digest(view)}.parquet"
        if path not in self._files.list(f"{_SERIES}/{view.name}/*.parquet"):
            with self.connection() as connection:
                names = tuple(feature.name for feature in view.features)
                rows = self._read(connection, view, self.parts(view.name))
                table = connection.sql(series_sql(rows, view.keys, names)).to_arrow_table()
            self._files.write(path, _parquet(table))
            self._drop_old_series(view.name, path)
        return self._files.where(path)

    def known(self, view: FeatureView, as_of_us: int, features: tuple[str, ...]) -> Any:  # noqa: ANN401
        """Return the events that had happened at a moment, each as it was known then (`known_sql`)."""
        with self.connection() as connection:
            rows = self._read(connection, view, self.parts(view.name))
            return connection.sql(known_sql(rows, view.keys, features, as_of_us)).to_arrow_table()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Open a DuckDB that reads the store's files; raise DataError for what it finds damaged."""
        connection = duckdb.connect()
        try:
            if self._files.filesystem is not None:
                connection.register_filesystem(self._files.filesystem)
            yield connection
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise DataError(f"{self._files}: {error}; restore what is damaged from a copy") from error
        finally:
            connection.close()

    def _read(self, connection: Any, view: FeatureView, parts: tuple[str, ...]) -> str:  # noqa: ANN401
        # Older rows lack features that were added since; the empty table says which ones there are.
        schema = schema_of(view).append(pa.field(PART, pa.int64())).append(pa.field(ROW, pa.int64()))
        connection.register("nothing", schema.empty_table())
        if not parts:
            return "nothing"
        files = read_parquet(tuple(self._files.where(part) for part in parts))
        return f"(SELECT * FROM nothing UNION ALL BY NAME SELECT * FROM {files})"  # noqa: S608 - addresses are quoted

    def _add_part(self, view: FeatureView, new: Any) -> None:  # noqa: ANN401
        last = self.last_push(view.name)
        # A clock that went back must not make the newest rows the oldest.
        number = max(int(self._clock.utc_s() * _US_PER_S), last + 1)
        while True:
            table = new.append_column(PART, pa.array([number] * new.num_rows, pa.int64()))
            if self._files.create(f"{_ROWS}/{view.name}/{number:020}.parquet", _parquet(table)):
                return
            number += 1

    def _drop_old_series(self, name: str, newest: str) -> None:
        # One that a reader has just been given stays for a while.
        known = [path for path in self._files.list(f"{_SERIES}/{name}/*.parquet") if path != newest]
        if len(known) >= _KEPT_SERIES:
            self._files.remove(known)


def part_number(path: str) -> int:
    """Return the number of a push, by which its rows name it, from the path of its file."""
    return int(path.rsplit("/", 1)[1].removesuffix(".parquet"))


def read_parquet(addresses: tuple[str, ...]) -> str:
    """Return the SQL function that reads files, whose columns may differ."""
    names = ", ".join("'" + address.replace("'", "''") + "'" for address in addresses)
    return f"read_parquet([{names}], union_by_name = true)"


def _parquet(table: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
