"""The rows of a view that count, so that "as of" is a plain comparison: SQL text and nothing else.

A row may be used from the moment at which its event has happened *and* it is known: ``available``. Of the rows
available at a time, the one with the newest event counts; of several of the same event the one known last (a
correction), then the one stored last. In the order of ``available`` those rows are exactly the ones that are not older
than any before them; the others never count, at no time, and are left out once, where rows are stored, instead of at
every question.
"""

from typing import Final

AVAILABLE: Final = "__available"
EVENT: Final = "__event"
KNOWN: Final = "__known"
# In which push, and where in it: later ones correct earlier ones.
PART: Final = "__part"
ROW: Final = "__row"


def quoted(name: str) -> str:
    """Return a name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def names_of(columns: tuple[str, ...], prefix: str = "") -> str:
    """Return a list of columns as SQL takes it."""
    return ", ".join(f"{prefix}{quoted(column)}" for column in columns)


def series_sql(rows: str, keys: tuple[str, ...], features: tuple[str, ...]) -> str:
    """Return the query that makes the series that counts of all rows of a view, sorted by keys and `AVAILABLE`.

    Args:
        rows: what to read from: a table, or a function that reads files.
        keys: columns that name an entity.
        features: columns of values.
    """
    key = names_of(keys)
    return f"""
        WITH ranked AS (
            SELECT {key}, {EVENT}, {KNOWN}, {PART}, {ROW}, {names_of(features)},
                   greatest({EVENT}, {KNOWN}) AS {AVAILABLE},
                   row_number() OVER (PARTITION BY {key} ORDER BY {EVENT}, {KNOWN}, {PART}, {ROW}) AS rank
            FROM {rows}
        ), running AS (
            SELECT *, max(rank) OVER (
                PARTITION BY {key} ORDER BY {AVAILABLE} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS best
            FROM ranked
        )
        SELECT {key}, {AVAILABLE}, {EVENT}, {KNOWN}, {PART}, {names_of(features)}
        FROM running WHERE rank = best ORDER BY {key}, {AVAILABLE}
    """  # noqa: S608 - names are quoted, and a view's names are checked


def known_sql(rows: str, keys: tuple[str, ...], features: tuple[str, ...], as_of_us: int) -> str:
    """Return the query for every event that had happened at a moment, as it was known then, sorted by time and keys.

    Args:
        rows: what to read from: a table, or a function that reads files.
        keys: columns that name an entity.
        features: columns of values.
        as_of_us: the moment, in microseconds since 1970.
    """
    return f"""
        SELECT {names_of(keys)}, {EVENT}, {KNOWN}, {names_of(features)} FROM {rows}
        WHERE {EVENT} <= make_timestamp({as_of_us}) AND {KNOWN} <= make_timestamp({as_of_us})
        QUALIFY row_number() OVER (
            PARTITION BY {names_of(keys)}, {EVENT} ORDER BY {KNOWN} DESC, {PART} DESC, {ROW} DESC) = 1
        ORDER BY {EVENT}, {names_of(keys)}
    """  # noqa: S608 - names are quoted, and a view's names are checked


def new_rows_sql(given: str, stored: str, keys: tuple[str, ...], features: tuple[str, ...]) -> str:
    """Return the query for the rows of a push that say something new: the last of each event and time of knowing.

    One that repeats what is stored is left out; one that differs from it is a correction.

    Args:
        given: the table of the push, with `ROW`.
        stored: what to read the rows from that are there.
        keys: columns that name an entity.
        features: columns of values.
    """
    name = (*keys, EVENT, KNOWN)
    same = " AND ".join(f"old.{quoted(c)} = new.{quoted(c)}" for c in name)
    alike = " AND ".join(f"old.{quoted(c)} IS NOT DISTINCT FROM new.{quoted(c)}" for c in features)
    return f"""
        WITH fresh AS (
            SELECT * FROM {given}
            QUALIFY row_number() OVER (PARTITION BY {names_of(name)} ORDER BY {ROW} DESC) = 1
        ), old AS (
            SELECT * FROM {stored} AS all_rows SEMI JOIN fresh USING ({names_of(name)})
            QUALIFY row_number() OVER (PARTITION BY {names_of(name)} ORDER BY {PART} DESC, {ROW} DESC) = 1
        )
        SELECT new.* FROM fresh AS new ANTI JOIN old ON {same} AND {alike} ORDER BY {ROW}
    """  # noqa: S608 - names are quoted, and a view's names are checked
