"""Where the scoring thread leaves the rows that a bundle in the shadow scores again.

It does no more for it than to append a row to a bounded queue; when that is full, the row is counted as dropped.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from edge_agent.scoring.scorer import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.update.shadow_messages import ShadowRow, Value

MAX_QUEUED: Final = 2048


class ShadowQueue:
    """Where the scoring thread leaves rows for a shadow; `offer` is its, all else is housekeeping's.

    Attributes:
        is_open: whether there is a shadow.
        dropped: rows that found no room, since the beginning.
    """

    __slots__ = ("_rows", "dropped", "is_open")

    def __init__(self) -> None:
        """Begin closed."""
        self._rows: deque[tuple[tuple[Value, ...], str | None, float]] = deque()
        self.is_open = False
        self.dropped = 0

    def offer(self, values: "Sequence[Value]", prediction: Prediction) -> None:
        """Leave a row that was scored, if there is a shadow; never waits."""
        if not self.is_open:
            return
        if len(self._rows) >= MAX_QUEUED:
            self.dropped += 1
            return
        # Copied: a source may fill its row again.
        self._rows.append((tuple(values), prediction.label, prediction.value))

    def take(self, most: int) -> "list[ShadowRow]":
        """Remove the oldest rows and return them."""
        from edge_agent.update.shadow_messages import ShadowRow  # noqa: PLC0415 - where there is a shadow

        rows: list[ShadowRow] = []
        while self._rows and len(rows) < most:
            rows.append(ShadowRow(*self._rows.popleft()))
        return rows

    def open(self) -> None:
        """Take rows from now on."""
        # One may have come while it was closed.
        self._rows.clear()
        self.is_open = True

    def close(self) -> None:
        """Take no more rows, and forget those that wait."""
        self.is_open = False
        self._rows.clear()
