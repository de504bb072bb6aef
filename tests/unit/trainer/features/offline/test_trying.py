import dataclasses

import pyarrow as pa
import pytest
from msgspec.structs import replace

from tests.unit.trainer.features.small_views import HOURLY, StandingClock, rows
from trainer.errors import DataError
from trainer.features.offline import trying
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.trying import try_view

# A late row, one that is corrected, one that is not valid for long, one without a value.
ROWS = rows(
    ("m1", "08:00", "08:05", 11.5, 40),
    ("m1", "09:00", "09:05", 12.5, 41),
    ("m1", "08:30", "09:30", 13.5, 42),
    ("m1", "09:00", "10:00", 12.0, 41),
    ("m2", "08:00", "11:59", 60.0, None),
    ("m2", "09:00", "09:05", None, 7),
)


def test_a_view_that_is_what_it_says_is_told_with_what_lies_beyond_its_range():
    tried = try_view(HOURLY, ROWS, 200, StandingClock())
    assert dataclasses.astuple(tried) == ("hourly", 6, (("load", 1),))


@pytest.mark.parametrize("known", [None, "known"])
@pytest.mark.parametrize("ttl_s", [None, 60.0, 7200.0])
def test_ttl_and_late_rows_are_no_trouble(known, ttl_s):
    view = replace(HOURLY, ttl_s=ttl_s, source=replace(HOURLY.source, known=known))
    assert try_view(view, ROWS, 200, StandingClock()).rows == 6


def test_only_the_first_rows_are_tried():
    assert try_view(HOURLY, ROWS, 2, StandingClock()).rows == 2


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("load", ["a lot"] * 2, "load"),
        ("known", ["soon"] * 2, "known"),
        ("machine_id", [None] * 2, "no key"),
    ],
)
def test_rows_that_are_not_what_is_declared_are_refused(column, values, words):
    table = ROWS[0][1].slice(0, 2)
    place = table.column_names.index(column)
    broken = table.set_column(place, column, pa.array(values, pa.string()))
    with pytest.raises(DataError, match=words):
        try_view(HOURLY, [("rows", broken)], 200, StandingClock())


def test_a_column_that_is_not_there_and_a_source_without_rows_are_refused():
    with pytest.raises(DataError, match="no column 'parts'"):
        try_view(HOURLY, [("rows", ROWS[0][1].drop_columns(["parts"]))], 200, StandingClock())
    with pytest.raises(DataError, match="no rows"):
        try_view(HOURLY, [], 200, StandingClock())


def test_a_store_that_gives_out_what_was_not_known_yet_is_found_out(monkeypatch):
    class Leaking(FeatureStore):
        """Asks an hour later than it is told to."""

        def extract(self, asked, wanted, **how):
            place = asked.column_names.index("__asked")
            later = pa.compute.add(asked.column("__asked"), pa.scalar(3_600_000_000, pa.duration("us")))
            return super().extract(asked.set_column(place, "__asked", later), wanted, **how)

    monkeypatch.setattr(trying, "FeatureStore", Leaking)
    with pytest.raises(DataError, match=r"gives out of machine_id m1 at .* what was not known then"):
        try_view(HOURLY, ROWS, 200, StandingClock())
