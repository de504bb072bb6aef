"""Rows that are there already are taken together, without waiting."""

import pytest

from edge_agent.errors import SourceError
from edge_agent.sensing.source import SourceRow, take_ready


class Breaks:
    """Gives rows, and breaks at one of them."""

    def __init__(self, rows: int, breaks_at: int | None = None) -> None:
        self.given = 0
        self.waits: list[float] = []
        self._rows = rows
        self._breaks_at = breaks_at

    def next_row(self, timeout_s: float) -> SourceRow | None:
        self.waits.append(timeout_s)
        if self.given == self._breaks_at:
            raise SourceError("gone")
        if self.given == self._rows:
            return None
        self.given += 1
        return SourceRow(self.given - 1, (1.0,))


def test_what_is_there_is_taken_up_to_the_limit_and_nothing_waits():
    source = Breaks(5)
    assert [row.number for row in take_ready(source, 3)] == [0, 1, 2]
    assert [row.number for row in take_ready(source, 3)] == [3, 4]
    assert take_ready(source, 3) == []
    assert set(source.waits) == {0.0}


def test_rows_before_a_source_broke_are_given_and_the_next_call_raises():
    source = Breaks(5, breaks_at=2)
    assert [row.number for row in take_ready(source, 4)] == [0, 1]
    with pytest.raises(SourceError, match="gone"):
        take_ready(source, 4)
