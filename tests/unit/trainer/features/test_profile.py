import datetime as dt
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trainer.errors import DataError
from trainer.features.columns import Place
from trainer.features.profile import MAX_NAMED_NUMBERS, ColumnProfile, profile_column

PLACE = Place(Path("rows.csv"), "x")


def profile(values: Any) -> ColumnProfile:
    return profile_column(pa.table({"x": values}), PLACE)


def test_whole_numbers_are_described_with_their_range_and_their_names() -> None:
    found = profile(["10", "9", "", "9"])
    assert (found.kind, found.stored_as, found.n_rows, found.n_missing) == ("number", "string", 4, 1)
    assert (found.minimum, found.maximum, found.n_distinct) == (9.0, 10.0, 2)
    assert found.is_whole
    assert (found.names, found.early_rows) == (("9", "10"), (1, 1))
    assert found.refusal == ""


def test_other_numbers_have_a_range_and_no_names() -> None:
    found = profile([0.5, -2.0, None])
    assert (found.kind, found.stored_as, found.minimum, found.maximum) == ("number", "double", -2.0, 0.5)
    assert not found.is_whole
    assert found.names == ()


def test_very_many_whole_numbers_are_not_named() -> None:
    assert len(profile(list(range(MAX_NAMED_NUMBERS))).names) == MAX_NAMED_NUMBERS
    assert profile(list(range(MAX_NAMED_NUMBERS + 1))).names == ()


@pytest.mark.parametrize(
    ("values", "is_ordered", "is_counting"),
    [
        ([5, 6, 7], True, True),
        ([5, 5, 7], True, False),
        ([7, 6, 5], False, False),
        ([5, None, 6], True, False),
        ([0.5, 1.5, 2.5], True, True),
    ],
)
def test_numbers_that_never_fall_are_ordered_and_those_that_rise_by_one_count(
    values: list[float | None], *, is_ordered: bool, is_counting: bool
) -> None:
    found = profile(values)
    assert (found.is_ordered, found.is_counting) == (is_ordered, is_counting)


def test_texts_are_described_with_their_names_by_alphabet_and_why_they_are_no_numbers() -> None:
    found = profile(["scrap", "good", "", "scrap", "scrap"])
    assert (found.kind, found.n_rows, found.n_missing, found.n_early, found.n_distinct) == ("text", 5, 1, 2, 2)
    assert (found.names, found.early_rows) == (("good", "scrap"), (1, 1))
    assert found.refusal.startswith("rows.csv: row 0, column 'x': 'scrap' is not a number")
    assert math.isnan(found.minimum)


def test_a_stored_list_of_categories_is_text() -> None:
    found = profile(pa.array(["b", "a", "b"]).dictionary_encode())
    assert (found.kind, found.names) == ("text", ("a", "b"))
    assert found.stored_as.startswith("dictionary")


@pytest.mark.parametrize(
    "values",
    [
        ["2026-01-01", "2026-01-03", "2026-01-03", "2026-01-04"],
        [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 3, 3, 4)],
    ],
    ids=["text", "stored"],
)
def test_dates_are_times_and_never_fall(values: list[object]) -> None:
    found = profile(values)
    assert (found.kind, found.n_rows, found.n_missing, found.n_early, found.n_distinct) == ("time", 4, 0, 2, 3)
    assert found.is_ordered
    assert not profile(values[::-1]).is_ordered


def test_dates_with_a_gap_are_text() -> None:
    assert profile(["2026-01-01", ""]).kind == "text"


def test_a_type_that_the_store_does_not_read_is_neither_number_nor_text() -> None:
    found = profile([[1.0], None, [2.0], [3.0]])
    assert (found.kind, found.stored_as) == ("other", "list<item: double>")
    assert (found.n_rows, found.n_missing, found.n_early) == (4, 1, 1)
    assert "not numbers" in found.refusal


def test_the_values_of_the_first_half_are_counted() -> None:
    assert profile([None, 1.5, 2.5, 3.5, 4.5]).n_early == 1
    assert profile([[None], [1.0]]).n_early == 1


@pytest.mark.parametrize(
    "values",
    [["", "NA"], [math.nan, None], [None, None], pa.array([None, None], type=pa.date32())],
    ids=str,
)
def test_an_all_empty_column_is_refused(values: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: (row 0, )?column 'x': "):
        profile(values)


@pytest.mark.parametrize("values", [[1.0, math.inf], [1e39, 2.0]], ids=str)
def test_a_stored_number_that_float32_cannot_hold_is_refused(values: list[float]) -> None:
    with pytest.raises(DataError, match="is infinite or too large for float32"):
        profile(values)


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="there is no such column"):
        profile_column(pa.table({"y": [1]}), PLACE)
