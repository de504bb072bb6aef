"""The protocol behind which the sources of rows stand."""

from dataclasses import dataclass
from typing import Protocol

from edge_agent.scoring.schema import RawRow


@dataclass(frozen=True, slots=True)
class SourceRow:
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

    def close(self) -> None:
        """End it; a waiting `next_row` of another thread returns None."""
        ...
