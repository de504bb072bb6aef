"""The protocol behind which the sources of rows stand."""

from typing import Protocol

from msgspec import Struct

from edge_agent.errors import SourceError
from edge_agent.scoring.schema import RawRow


class SourceRow(Struct, frozen=True):
    """One row as its source had it.

    Attributes:
        number: position in the source: it grows from row to row, and is the same row again after a restart.
        values: ``(n_features,)`` in the manifest's order, not yet checked. A row that the source could not take apart
            is `edge_agent.scoring.schema.Unreadable`: it keeps its number, is refused by the scorer, and counted.
    """

    number: int
    values: RawRow


class Source(Protocol):
    """Gives rows one after the other; opened at a cursor, the number of the first row that is not yet counted."""

    @property
    def at_end(self) -> bool:
        """Whether no row will ever come again."""
        ...

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the next row; None when none came within ``timeout_s``, or at the end.

        Raises:
            SourceError: the source cannot be read any more.
        """
        ...

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return rows that are there already, in their order, at most ``limit``; never wait. None there: an empty list.

        More than one says that rows come faster than they are taken: the loop may then score them together. What
        `next_row` would give with no time to wait is what is there: `take_ready` is that, for a source that knows no
        quicker way.

        Raises:
            SourceError: as `next_row` does; never after a row was taken for this list.
        """
        ...

    def close(self) -> None:
        """End it; a waiting `next_row` of another thread returns None."""
        ...


class NextRow(Protocol):
    """What `take_ready` asks."""

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """See `Source.next_row`."""
        ...


def take_ready(source: NextRow, limit: int) -> list[SourceRow]:
    """Return the rows that ``source`` gives at once, at most ``limit``: a `Source.ready_rows` out of its `next_row`.

    A source that breaks after some rows were taken gives these rows, and breaks at the next call.

    Raises:
        SourceError: the source cannot be read any more.
    """
    rows: list[SourceRow] = []
    while len(rows) < limit:
        try:
            row = source.next_row(0.0)
        except SourceError:
            if not rows:
                raise
            break
        if row is None:
            break
        rows.append(row)
    return rows
