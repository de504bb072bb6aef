"""The online store on a PostgreSQL server, for services on several machines."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from trainer.errors import DataError
from trainer.features.online.lookup import OnlineRow, Progress
from trainer.project.stores import hidden

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS online_rows (
        view TEXT NOT NULL, key TEXT NOT NULL, event_us BIGINT NOT NULL, known_us BIGINT NOT NULL,
        part BIGINT NOT NULL, "values" BYTEA NOT NULL, PRIMARY KEY (view, key))""",
    "CREATE TABLE IF NOT EXISTS online_progress (view TEXT NOT NULL PRIMARY KEY, progress BYTEA NOT NULL)",
)
# Of those who make the tables at once, all but one would fail.
_LOCK: Final = "SELECT pg_advisory_xact_lock(7310570118)"
_PUT: Final = """
INSERT INTO online_rows (view, key, event_us, known_us, part, "values") VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (view, key) DO UPDATE SET
    event_us = excluded.event_us, known_us = excluded.known_us, part = excluded.part, "values" = excluded."values"
WHERE (excluded.event_us, excluded.known_us, excluded.part)
    > (online_rows.event_us, online_rows.known_us, online_rows.part)
"""
_PUT_PROGRESS: Final = """
INSERT INTO online_progress (view, progress) VALUES (%s, %s)
ON CONFLICT (view) DO UPDATE SET progress = excluded.progress
"""
_FIND: Final = 'SELECT event_us, "values" FROM online_rows WHERE view = %s AND key = %s'
_FIND_MANY: Final = 'SELECT key, event_us, "values" FROM online_rows WHERE view = %s AND key = ANY(%s)'
# A server that is gone is told soon: who asks waits for it.
_CONNECT_S: Final = 5


class PostgresOnline:
    """An online store in a database; used by several threads, each with a connection of the pool."""

    def __init__(self, address: str) -> None:
        self._told = hidden(address)
        with self._translated():
            self._engine = sqlalchemy.create_engine(
                address, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_S}
            )
            # A look-up is one statement: no transaction around it, which would cost two more ways.
            self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._translated(), self._engine.begin() as connection:
            connection.exec_driver_sql(_LOCK)
            for table in _TABLES:
                connection.exec_driver_sql(table)

    def put(self, view: str, rows: Sequence[OnlineRow], progress: Progress) -> None:
        """Keep rows, except where a newer one is there, and how far that is: both or neither."""
        with self._translated(), self._engine.begin() as connection:
            if rows:
                given: list[Any] = [(view, row.key, row.event_us, row.known_us, row.part, row.values) for row in rows]
                connection.exec_driver_sql(_PUT, given)
            connection.exec_driver_sql(_PUT_PROGRESS, (view, msgspec.msgpack.encode(progress)))

    def progress(self, view: str) -> Progress:
        """Return how far a view is."""
        with self._translated(), self._reader.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT progress FROM online_progress WHERE view = %s", (view,)
            ).fetchone()
        return Progress() if found is None else msgspec.msgpack.decode(found[0], type=Progress)

    def find(self, view: str, key: str) -> tuple[int, bytes] | None:
        """Return time of event and values of an entity; None: it has no row."""
        with self._translated(), self._reader.connect() as connection:
            found = connection.exec_driver_sql(_FIND, (view, key)).fetchone()
        return None if found is None else (int(found[0]), bytes(found[1]))

    def find_many(self, view: str, keys: Sequence[str]) -> Mapping[str, tuple[int, bytes]]:
        """Return the same of several entities at once, by key; those without a row are left out."""
        with self._translated(), self._reader.connect() as connection:
            rows = connection.exec_driver_sql(_FIND_MANY, (view, list(keys))).fetchall()
        return {key: (int(event_us), bytes(values)) for key, event_us, values in rows}

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ImportError) as error:
            raise DataError(f"{self._told}: the online features cannot be used: {hidden(str(error))}") from error
