"""Times of every kind become moments of UTC; a local one that could mean two, or none, is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from trainer.errors import DataError
from trainer.features.offline.moments import moments

ZURICH = ZoneInfo("Europe/Zurich")
SPRING = datetime(2026, 3, 29)  # noqa: DTZ001 - a local day
AUTUMN = datetime(2026, 10, 25)  # noqa: DTZ001 - a local day
QUARTERS = [timedelta(minutes=15 * number) for number in range(24)]


def utc(*values: Any, **how: Any) -> list[datetime]:
    how.setdefault("zone", None)
    raw = values[0] if len(values) == 1 and isinstance(values[0], pa.Array) else pa.array(list(values))
    return moments(raw, "rows.csv: column 'at'", **how).to_pylist()


def test_a_text_with_a_zone_keeps_its_moment_and_others_take_the_one_declared() -> None:
    assert (
        utc("2026-07-01T12:00:00+02:00", "2026-07-01 12:00", "2026-07-01T10:00:00Z", zone="Europe/Zurich")
        == [datetime(2026, 7, 1, 10, tzinfo=UTC)] * 3
    )
    assert utc("2026-07-01", zone="Europe/Zurich") == [datetime(2026, 6, 30, 22, tzinfo=UTC)]


def test_a_column_with_a_zone_keeps_its_moments_and_loses_parts_of_a_microsecond() -> None:
    late = pa.array([1_000_000_999], pa.timestamp("ns", "Asia/Tokyo"))
    assert utc(late) == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]


def test_a_local_time_without_a_zone_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match=r"rows.csv: column 'at': row 1: .* does not say its zone"):
        utc("2026-07-01T10:00:00Z", "2026-07-01T10:00:00")
    with pytest.raises(DataError, match="row 0"):
        utc(pa.array([0], pa.timestamp("us")))


def test_numbers_are_times_only_where_it_is_said_what_they_count() -> None:
    with pytest.raises(DataError, match="'epoch'"):
        utc(1_700_000_000)
    whole = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert utc(1_700_000_000, epoch="s") == utc(1_700_000_000_000, epoch="ms") == [whole]
    assert utc(1_700_000_000.25, epoch="s") == [whole + timedelta(microseconds=250_000)]


def test_what_is_no_time_and_what_is_missing_is_told_with_its_row() -> None:
    with pytest.raises(DataError, match="row 1: 'soon'"):
        utc("2026-07-01T10:00:00Z", "soon", zone="UTC")
    with pytest.raises(DataError, match="row 1: no time"):
        utc("2026-07-01T10:00:00Z", " ")


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_local_times_around_a_change_of_the_clocks_are_those_of_the_zone(day: datetime) -> None:
    for local in (day + quarter for quarter in QUARTERS):
        both = {local.replace(tzinfo=ZURICH, fold=fold).astimezone(UTC) for fold in (0, 1)}
        if len(both) == 1:
            assert utc(local.isoformat(), zone="Europe/Zurich") == list(both)
            continue
        with pytest.raises(DataError, match="occurs twice or never"):
            utc(local.isoformat(), zone="Europe/Zurich")
        earlier = utc(local.isoformat(), zone="Europe/Zurich", dst="earlier")[0]
        later = utc(local.isoformat(), zone="Europe/Zurich", dst="later")[0]
        if day == AUTUMN:
            assert (earlier, later) == (min(both), max(both))
        else:
            # The moment at which the clocks were changed, from either side.
            assert later == datetime(2026, 3, 29, 1, tzinfo=UTC)
            assert timedelta(0) < later - earlier <= timedelta(microseconds=1)
