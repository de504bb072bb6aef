"""The online store in a file of this machine, for one service beside its store."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, local
from typing import Final

import msgspec

from trainer.errors import DataError
from trainer.features.online.lookup import OnlineRow, Progress

_BUSY_TIMEOUT_S: Final = 30.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS online_rows (
    view TEXT NOT NULL, key TEXT NOT NULL, event_us INTEGER NOT NULL, known_us INTEGER NOT NULL, part INTEGER NOT NULL,
    "values" BLOB NOT NULL, PRIMARY KEY (view, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS online_progress (view TEXT NOT NULL PRIMARY KEY, progress BLOB NOT NULL);
"""
_PUT: Final = """
INSERT INTO online_rows (view, key, event_us, known_us, part, "values") VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (view, key) DO UPDATE SET
    event_us = excluded.event_us, known_us = excluded.known_us, part = excluded.part, "values" = excluded."values"
WHERE (excluded.event_us, excluded.known_us, excluded.part)
    > (online_rows.event_us, online_rows.known_us, online_rows.part)
"""
_PUT_PROGRESS: Final = """
INSERT INTO online_progress (view, progress) VALUES (?, ?)
ON CONFLICT (view) DO UPDATE SET progress = excluded.progress
"""
_FIND: Final = 'SELECT event_us, "values" FROM online_rows WHERE view = ? AND key = ?'


class SqliteOnline:
    """An online store in an SQLite file; each thread has its own connection."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mine = local()
        self._all: list[sqlite3.Connection] = []
        self._lock = Lock()
        with _translated(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection().executescript(_TABLES)

    def put(self, view: str, rows: Sequence[OnlineRow], progress: Progress) -> None:
        """Keep rows, except where a newer one is there, and how far that is: both or neither."""
        connection = self._connection()
        with _translated(self._file):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    _PUT, [(view, row.key, row.event_us, row.known_us, row.part, row.values) for row in rows]
                )
                connection.execute(_PUT_PROGRESS, (view, msgspec.msgpack.encode(progress)))
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    def progress(self, view: str) -> Progress:
        """Return how far a view is."""
        with _translated(self._file):
            found = (
                self._connection().execute("SELECT progress FROM online_progress WHERE view = ?", (view,)).fetchone()
            )
        return Progress() if found is None else msgspec.msgpack.decode(found[0], type=Progress)

    def find(self, view: str, key: str) -> tuple[int, bytes] | None:
        """Return time of event and values of an entity; None: it has no row."""
        with _translated(self._file):
            found: tuple[int, bytes] | None = self._connection().execute(_FIND, (view, key)).fetchone()
        return found

    def find_many(self, view: str, keys: Sequence[str]) -> Mapping[str, tuple[int, bytes]]:
        """Return the same of several entities at once, by key; those without a row are left out."""
        found: dict[str, tuple[int, bytes]] = {}
        with _translated(self._file):
            # Its file is in this process: one question more costs microseconds.
            connection = self._connection()
            for key in keys:
                row = connection.execute(_FIND, (view, key)).fetchone()
                if row is not None:
                    found[key] = row
        return found

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            # Transactions are begun here, not by the driver; `close` may be another thread's.
            connection = sqlite3.connect(
                self._file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            # With a write-ahead log readers never wait for the writer.
            connection.execute("PRAGMA journal_mode=WAL")
            self._mine.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"{file}: the online features cannot be used: {error}") from error
