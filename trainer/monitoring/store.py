"""Opens the fleet's database: SQLite by default, anything SQLAlchemy reaches by a URI.

A commit here is what releases records from devices, so that it must survive a power cut: SQLite runs with a
write-ahead log and full synchronisation. This module knows connections, not what the tables mean.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, Table, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import InterfaceError as DatabaseInterfaceError
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from trainer.errors import TrainerError
from trainer.monitoring.tables import METADATA, SCHEMA, SCHEMA_VERSION

_WRITES = "fieldloop_writes"
_BUSY_TIMEOUT_S = 10.0


class StoreError(TrainerError):
    """The fleet's database does not take what it was given, or is of another version: give up."""

    exit_code = 8


class StoreUnavailableError(StoreError):
    """The database is locked, full or away: try again later."""


class Store:
    """The fleet's database. Used by several threads; each transaction takes its own connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that reads; raise StoreUnavailableError or StoreError."""
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is committed, durably, when the block ends; raise as `reading` does."""
        with _translated(), self._engine.connect() as connection:
            # SQLite: take the write lock at once; a reader that turns into a writer would fail instead of waiting.
            connection = connection.execution_options(**{_WRITES: True})  # noqa: PLW2901 - the same, with an option
            with connection.begin():
                yield connection

    @property
    def dialect(self) -> str:
        """Name of the kind of database."""
        return self._engine.dialect.name

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def open_store(uri: str) -> Store:
    """Open the fleet's database, and make its tables where there are none.

    Args:
        uri: as SQLAlchemy takes it; see `store_uri` for a file.

    Raises:
        StoreUnavailableError: it cannot be reached now.
        StoreError: it is of another version.
    """
    with _translated():
        url = sqlalchemy.make_url(uri)
        is_sqlite = url.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {"timeout": _BUSY_TIMEOUT_S} if is_sqlite else {}
        engine = sqlalchemy.create_engine(url, connect_args=arguments, pool_pre_ping=not is_sqlite)
    if is_sqlite:
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    store = Store(engine)
    with store.writing() as connection:
        METADATA.create_all(connection)
        version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version is None:
            connection.execute(SCHEMA.insert().values(version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            msg = f"{url.render_as_string()}: tables of version {version}, this program knows {SCHEMA_VERSION}"
            raise StoreError(msg)
    return store


def store_uri(file: Path) -> str:
    """Return the URI of an SQLite file."""
    return f"sqlite:///{file}"


def insert_once(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows; those whose unique name is there already are left out."""
    if rows:
        _insert_many(connection, _insert(connection, table).on_conflict_do_nothing(), rows)


def upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]], *, add: tuple[str, ...] = ()) -> None:
    """Insert rows, or replace those of the same primary key; the columns in ``add`` are added up instead."""
    if not rows:
        return
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    changes = {
        name: table.c[name] + statement.excluded[name] if name in add else statement.excluded[name]
        for name in rows[0]
        if name not in keys
    }
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes), rows)


def _insert_many(connection: Connection, statement: ClauseElement, rows: Sequence[dict[str, Any]]) -> None:
    """Hand many rows to the driver at once.

    Compiled once and given as it is, a record costs a third of what the same statement costs row by row; the driver
    takes the types that the tables hold (numbers, text, bytes, true and false) as they are.
    """
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    text = str(compiled)
    if isinstance(compiled, SQLCompiler) and compiled.positional and compiled.positiontup:
        names = compiled.positiontup
        connection.exec_driver_sql(text, [tuple([row[name] for name in names]) for row in rows])
    else:
        connection.exec_driver_sql(text, list(rows))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _tune_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
    connection.isolation_level = None  # the driver would begin transactions by its own rules
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-16384", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, DatabaseInterfaceError) as error:
        msg = f"the fleet's database is not available: {error.orig}"
        raise StoreUnavailableError(msg) from error
    except DBAPIError as error:
        msg = f"the fleet's database refused: {error.orig}"
        raise StoreError(msg) from error
    except SQLAlchemyError as error:
        msg = f"the fleet's database cannot be used: {error}"
        raise StoreError(msg) from error
