"""Reads the rows of a query from any database that SQLAlchemy reaches."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from trainer.errors import DataError
from trainer.features.views.view import FeatureView
from trainer.project.stores import hidden

_ROWS_AT_ONCE: Final = 50_000
# Rows are read again over so long: transactions end in another order than their rows say, and clocks are set back.
_OVERLAP: Final = timedelta(days=1)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}


def read_query(
    view: FeatureView, environ: Mapping[str, str], *, newest_known_us: int | None = None
) -> Iterator[tuple[str, Any]]:
    """Read the rows of a view's query in parts, each a raw Arrow table, with what to call it in messages.

    Args:
        view: whose query it is; ``:since`` in it stands for a day before the newest row, as the view's column of times
            says it: a moment, a local time of its zone, a number.
        environ: holds the address, where the view says so.
        newest_known_us: when the newest row became known that is there already; None: all rows are wanted.

    Raises:
        DataError: the address is not set, or the database does not answer the query.
    """
    address = _address(view, environ)
    told = f"{hidden(address)}: query of view {view.name!r}"
    try:
        engine = sqlalchemy.create_engine(
            address.replace("postgresql://", "postgresql+psycopg://", 1), poolclass=NullPool
        )
        # Streamed: the driver would otherwise hold all rows.
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.execute(_query(view, newest_known_us))
            names = list(result.keys())
            while rows := result.fetchmany(_ROWS_AT_ONCE):
                yield told, pa.table({name: _column([row[i] for row in rows]) for i, name in enumerate(names)})
    except (SQLAlchemyError, ImportError, pa.ArrowException) as error:
        raise DataError(f"{told}: {hidden(str(error))}") from error


def _query(view: FeatureView, newest_known_us: int | None) -> sqlalchemy.TextClause:
    query = sqlalchemy.text(str(view.source.query))
    if not view.source.reads_since:
        return query
    since = _FIRST
    if newest_known_us is not None:
        since = max(since, _FIRST + timedelta(microseconds=newest_known_us) - _OVERLAP)
    source = view.source
    if source.epoch is not None:
        return query.bindparams(since=int(since.timestamp() * _PER_SECOND[source.epoch]))
    if source.zone is not None:
        local = since.astimezone(ZoneInfo(source.zone)).replace(tzinfo=None)
        return query.bindparams(sqlalchemy.bindparam("since", local, sqlalchemy.DateTime()))
    return query.bindparams(sqlalchemy.bindparam("since", since, sqlalchemy.DateTime(timezone=True)))


def _column(values: list[Any]) -> Any:  # noqa: ANN401 - Arrow ships no types
    # Arrow would take the zone of the first for all, and a local time beside an aware one for UTC.
    if any(isinstance(value, datetime) for value in values):
        return pa.array([value.isoformat() if isinstance(value, datetime) else value for value in values])
    return pa.array(values)


def _address(view: FeatureView, environ: Mapping[str, str]) -> str:
    source = view.source
    if source.database_env is None:
        return str(source.database)
    if not environ.get(source.database_env):
        raise DataError(
            f"view {view.name!r}: the environment variable {source.database_env} is not set; it holds the address of "
            "the view's database"
        )
    return environ[source.database_env]
