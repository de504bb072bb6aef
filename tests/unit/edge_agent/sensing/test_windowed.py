"""A source of windows: numbers that a cursor can go back to, readings that are no numbers, and a bound on waiting."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edge_agent.scoring.schema import RawRow, Unreadable
from edge_agent.scoring.windows import Extractor, windows_of
from edge_agent.sensing.source import SourceRow, take_ready
from edge_agent.sensing.windowed import Windowed
from tests.unit.edge_agent.examples import ManualClock
from tests.unit.edge_agent.signals import vibration


class Readings:
    """Gives what is listed; None stands for a time in which nothing comes."""

    def __init__(self, readings: Sequence[SourceRow | None], clock: ManualClock, *, takes_s: float = 0.0) -> None:
        self.left = list(readings)
        self.waits: list[float] = []
        self.closed = False
        self._clock = clock
        self._takes_s = takes_s

    @property
    def at_end(self) -> bool:
        return not self.left

    def next_row(self, timeout_s: float) -> SourceRow | None:
        self.waits.append(timeout_s)
        self._clock.advance(self._takes_s)
        return self.left.pop(0) if self.left else None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        return take_ready(self, limit)

    def close(self) -> None:
        self.closed = True


def numbered(values: Sequence[RawRow], numbers: Sequence[int] | None = None) -> list[SourceRow | None]:
    return [SourceRow(number, row) for number, row in zip(numbers or range(len(values)), values, strict=True)]


def opened(readings: Sequence[SourceRow | None], **changes: object) -> Windowed:
    clock = ManualClock()
    return Windowed(Readings(readings, clock), vibration(**changes), clock)


def drained(source: Windowed) -> list[SourceRow]:
    rows = []
    while not source.at_end:
        if (row := source.next_row(0.1)) is not None:
            rows.append(row)
    return rows


WAVE = [[math.sin(n / 3), n % 7 - 2.5] for n in range(60)]


def test_rows_are_the_features_of_windows():
    rows = drained(opened(numbered(WAVE)))
    expected = windows_of(Extractor(vibration()), np.array(WAVE), np.zeros(60, dtype=np.bool_))
    np.testing.assert_array_equal(np.array([row.values for row in rows], dtype=np.float32), expected.features)
    assert all(type(value) is float for row in rows for value in row.values)


def test_a_row_has_the_number_of_the_last_reading_that_no_later_window_needs():
    assert [row.number for row in drained(opened(numbered(WAVE)))] == [7, 15, 23, 31, 39, 47]
    assert [row.number for row in drained(opened(numbered(WAVE), step=16))] == [15, 31, 47]


@pytest.mark.parametrize("step", [1, 5, 8, 16])
def test_opened_at_the_cursor_after_any_row_the_same_windows_follow(step: int):
    # A source may leave numbers out: every third reading, and a blank line.
    numbers = [3 * n + (n > 30) for n in range(60)]
    numbered_wave = numbered(WAVE, numbers)
    rows = drained(opened(numbered_wave, step=step))
    for place, row in enumerate(rows):
        rest = [reading for reading in numbered_wave if reading is not None and reading.number >= row.number + 1]
        assert drained(opened(rest, step=step)) == rows[place + 1 :]


@pytest.mark.parametrize("raw", [None, "", " ", "nan", "x", "1_0", True, "inf", 10**400, "1e999"])
def test_a_value_that_is_no_number_is_a_missing_reading(raw: object):
    wave: list[RawRow] = [list(row) for row in WAVE[:16]]
    wave[4] = [raw, 1.0]  # type: ignore[list-item]
    (row,) = drained(opened(numbered(wave)))
    assert [math.isnan(value) for value in row.values] == [True] * 10 + [False] * 2  # type: ignore[arg-type]


@pytest.mark.parametrize("raw", [Unreadable(), (1.0,), (1.0, 2.0, 3.0)])
def test_a_reading_that_is_none_is_missing_in_every_channel(raw: RawRow):
    wave: list[RawRow] = [*WAVE[:4], raw, *WAVE[5:16]]
    (row,) = drained(opened(numbered(wave)))
    assert all(math.isnan(value) for value in row.values)  # type: ignore[arg-type]
    (row,) = drained(opened(numbered(wave), max_missing=1))
    assert not any(math.isnan(value) for value in row.values)  # type: ignore[arg-type]


def test_text_of_numbers_is_read():
    assert drained(opened(numbered([[repr(v) for v in row] for row in WAVE]))) == drained(opened(numbered(WAVE)))


def test_no_window_reaches_over_a_gap_in_time():
    timed: list[RawRow] = [[*row, n / 100 + (n >= 20) * 0.5] for n, row in enumerate(WAVE)]
    rows = drained(opened(numbered(timed), time="t"))
    assert [row.number for row in rows] == [7, 27, 35, 43, 51]
    # A reading that cannot be taken apart has no time either.
    broken: list[RawRow] = [*timed[20:30], Unreadable(), *timed[31:]]
    assert [row.number for row in drained(opened(numbered(broken, range(20, 60)), time="t"))] == [38, 46]
    # It is a gap even where its neighbours are near enough to each other.
    near = drained(opened(numbered(broken, range(20, 60)), time="t", max_gap_s=0.1))
    assert [row.number for row in near] == [38, 46]


def test_readings_that_give_no_window_are_told_once(caplog: pytest.LogCaptureFixture):
    dated: list[RawRow] = [(*row, "2026-11-25T12:00:00") for row in WAVE * 10]
    assert drained(opened(numbered(dated), time="t")) == []
    (record,) = caplog.records
    assert "160 readings gave no window of 16" in record.getMessage()
    assert "'2026-11-25T12:00:00' in the last one" in record.getMessage()


def test_a_call_waits_no_longer_than_it_may_while_readings_come():
    clock = ManualClock()
    readings = Readings(numbered([[*row, 0.0] for row in WAVE]), clock, takes_s=0.04)
    assert Windowed(readings, vibration(time="t"), clock).next_row(0.1) is None
    # Three readings at 0.04 s; then what is there without waiting, no more than a window.
    assert len(readings.waits) == 16
    assert readings.waits[:3] == pytest.approx([0.1, 0.06, 0.02])
    assert set(readings.waits[3:]) == {0.0}


def test_a_call_without_time_takes_what_is_there_up_to_a_window():
    clock = ManualClock()
    timed = [[*row, 0.0] for row in WAVE]
    readings = Readings(numbered(timed), clock)
    assert Windowed(readings, vibration(time="t"), clock).next_row(0.0) is None
    assert len(readings.waits) == 16


def test_windows_that_are_there_are_given_together():
    source = opened(numbered(WAVE))
    assert [row.number for row in source.ready_rows(4)] == [7, 15, 23, 31]
    assert [row.number for row in source.ready_rows(4)] == [39, 47]
    assert source.ready_rows(4) == []
    assert source.at_end


def test_no_more_windows_are_given_together_than_a_bounded_number_of_readings_makes():
    long = numbered([[n / 7, 1.0] for n in range(9000)])
    assert len(opened(long, size=1000, step=1000).ready_rows(64)) == 4
    assert len(opened(long, size=5000, step=5000).ready_rows(64)) == 1
    assert len(opened(long).ready_rows(64)) == 64


def test_nothing_there_is_no_row_and_no_end():
    source = opened([None, *numbered(WAVE[:16])])
    assert source.next_row(0.0) is None
    assert not source.at_end
    assert source.next_row(0.0) is not None
    assert source.at_end


def test_its_readings_are_closed_with_it():
    clock = ManualClock()
    readings = Readings([], clock)
    Windowed(readings, vibration(), clock).close()
    assert readings.closed
