import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from edge_agent.bundle import Feature
from trainer.errors import DataError
from trainer.features.columns import (
    MISSING_TEXTS,
    Place,
    category_codes,
    column_of,
    found_labels,
    label_codes,
    numbers,
    text_of,
    texts,
    times,
)

PLACE = Place(Path("rows.csv"), "x", first_row=10)


def text_column(*values: str | None) -> Any:
    return pa.array(values, type=pa.string())


def kind(raw: object) -> str | None:
    return str(raw.type) if isinstance(raw, pa.Array) else None


def read_numbers(raw: Any, *, may_miss: bool = True) -> list[float]:
    return [float(value) for value in numbers(raw, PLACE, may_miss=may_miss)]


def read_texts(raw: Any, *, may_miss: bool = True) -> list[str | None]:
    return texts(raw, PLACE, may_miss=may_miss)


# --- places and columns -----------------------------------------------------------------------------------------------


def test_a_refusal_names_file_row_and_column() -> None:
    assert str(PLACE.refusal(2, "is odd")) == "rows.csv: row 12, column 'x': is odd"
    assert str(PLACE.column_refusal("is odd")) == "rows.csv: column 'x': is odd"


def test_a_refusal_about_rows_of_several_files_names_the_file_and_the_row_in_it() -> None:
    place = Place(Path("one.csv"), "x", later=((3, Path("two.csv")), (5, Path("three.csv"))))
    told = [str(place.refusal(index, "is odd")).split(",")[0] for index in range(7)]
    assert told == [
        *(f"one.csv: row {row}" for row in range(3)),
        *(f"two.csv: row {row}" for row in range(2)),
        "three.csv: row 0",
        "three.csv: row 1",
    ]


def test_a_column_is_found_by_its_name_whatever_its_chunks() -> None:
    chunked = pa.table({"x": pa.chunked_array([[1], [2, 3]]), "y": [4, 5, 6]})
    assert column_of(chunked, PLACE).to_pylist() == [1, 2, 3]


def test_a_missing_column_is_refused_with_the_nearest_name() -> None:
    table = pa.table({"pressure": [1], "humidity": [2]})
    with pytest.raises(
        DataError, match=r"rows\.csv: column 'presure': there is no such column; did you mean 'pressure'"
    ):
        column_of(table, Place(Path("rows.csv"), "presure"))


def test_a_missing_column_that_is_near_to_none_is_refused_with_those_that_there_are() -> None:
    table = pa.table({"pressure": [1], "humidity": [2]})
    with pytest.raises(DataError, match="there is no such column; the columns are: pressure, humidity"):
        column_of(table, Place(Path("rows.csv"), "NOX"))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_texts_that_are_numbers_are_read_and_blanks_around_them_ignored() -> None:
    assert read_numbers(text_column("1", " -2.5 ", "3e-2", "007")) == [1.0, -2.5, 0.03, 7.0]


@pytest.mark.parametrize("missing", [*MISSING_TEXTS, "  ", None])
def test_what_spreadsheets_write_for_no_value_is_missing(missing: str | None) -> None:
    one, none = read_numbers(text_column("1", missing))
    assert one == 1.0
    assert math.isnan(none)


@pytest.mark.parametrize(
    "raw",
    [
        pa.array([1, None], type=pa.int16()),
        pa.array([1.0, math.nan], type=pa.float32()),
        pa.array([True, None]),
        pa.array([1, None]).cast(pa.decimal128(22, 2)),
    ],
    ids=kind,
)
def test_every_stored_kind_of_number_is_read(raw: Any) -> None:
    one, none = read_numbers(raw)
    assert one == 1.0
    assert math.isnan(none)


@pytest.mark.parametrize("bad", ["high", "1,5", "1 000", "1_000", "0x10", "--1"])
def test_a_text_in_a_column_of_numbers_is_refused_with_row_and_column(bad: str) -> None:
    with pytest.raises(DataError) as caught:
        read_numbers(text_column("1", "", "2", bad, "also bad"))
    assert str(caught.value) == f"rows.csv: row 13, column 'x': {bad!r} is not a number; mend it or leave it empty"


@pytest.mark.parametrize("row", [0, 1, 499, 500, 998, 999])
def test_the_first_bad_text_is_found_wherever_it_stands(row: int) -> None:
    values = ["1"] * 1000
    values[row:] = ["bad"] * (1000 - row)
    with pytest.raises(DataError, match=rf"row {10 + row}, column 'x': 'bad' is not a number"):
        read_numbers(text_column(*values))


@pytest.mark.parametrize("raw", [text_column("", "NA"), pa.array([None, None]), pa.array([math.nan, None])], ids=kind)
def test_an_all_empty_column_is_refused(raw: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: column 'x': all 2 values are empty"):
        read_numbers(raw)
    with pytest.raises(DataError, match=r"rows\.csv: column 'x': all 2 values are empty"):
        read_texts(raw)


def test_a_column_of_texts_that_arrow_takes_for_no_number_is_all_empty() -> None:
    with pytest.raises(DataError, match=r"rows\.csv: column 'x': all 2 values are empty"):
        read_numbers(text_column("NAN", "-nan"))


@pytest.mark.parametrize(
    "raw",
    [text_column("1", "inf"), text_column("1", "-1e39"), pa.array([1.0, -math.inf]), pa.array([1.0, 3.5e38])],
    ids=kind,
)
def test_a_number_that_float32_cannot_hold_is_refused_with_its_row(raw: Any) -> None:
    with pytest.raises(DataError, match=r"row 11, column 'x': .* is infinite or too large for float32"):
        read_numbers(raw)


def test_the_greatest_float32_is_a_number() -> None:
    greatest = float(np.finfo(np.float32).max)
    assert read_numbers(pa.array([greatest, -greatest])) == [greatest, -greatest]


def test_a_missing_number_is_refused_with_its_row_where_the_project_allows_none() -> None:
    with pytest.raises(DataError, match=r'row 11, column \'x\': no value \(2 such rows\); .*on_missing = "flag"'):
        read_numbers(text_column("1", "", "NA"), may_miss=False)


@pytest.mark.parametrize(
    "raw", [pa.array([[1.0]]), pa.array([dt.date(2026, 1, 1)]), pa.array([{"a": 1}]), pa.array([b"1"])], ids=kind
)
def test_a_type_that_holds_no_numbers_is_refused_by_name(raw: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_numbers(raw)
    assert f"column 'x': holds {raw.type}, not numbers" in str(caught.value)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_names_lose_the_blanks_around_them_and_missing_ones_are_none() -> None:
    assert read_texts(text_column("good", " scrap ", "NA", None)) == ["good", "scrap", None, None]
    assert read_texts(text_column("good", "").dictionary_encode()) == ["good", None]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (True, "true"),
        (False, "false"),
        ("a", "a"),
        (None, None),
        (math.nan, None),
    ],
)
def test_a_value_and_its_whole_number_have_one_name(value: object, name: str | None) -> None:
    assert text_of(value) == name


def test_numbers_and_booleans_name_classes_too() -> None:
    assert read_texts(pa.array([1.0, 2.0, None])) == ["1", "2", None]
    assert read_texts(pa.array([True, False])) == ["true", "false"]


@pytest.mark.parametrize(
    "raw",
    [
        pa.array([["a"]]),
        pa.array([dt.date(2026, 1, 1)]),
        pa.array([b"a"]),
        pa.array([b"a"], type=pa.large_binary()),
        pa.array([b"a"], type=pa.binary(1)),
    ],
    ids=kind,
)
def test_a_type_that_names_nothing_is_refused_by_name(raw: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_texts(raw)
    assert f"column 'x': holds {raw.type}, which names no classes" in str(caught.value)


def test_a_missing_name_is_refused_with_its_row_where_the_project_allows_none() -> None:
    with pytest.raises(DataError, match=r"row 12, column 'x': no value \(1 such rows\)"):
        read_texts(text_column("a", "b", "null"), may_miss=False)


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (text_column("3", "1.5"), [3.0, 1.5]),
        (pa.array([3, 1]), [3.0, 1.0]),
        (text_column("1970-01-02", " 1970-01-01 00:00:01.5 "), [86400.0, 1.5]),
        (text_column("1970-01-01T00:01", "1970-01-01T00:00:01"), [60.0, 1.0]),
        (text_column("1970-01-01T00:00:01Z", "1970-01-01 02:00:00+02:00"), [1.0, 0.0]),
        (pa.array([dt.date(1970, 1, 2)]), [86400.0]),
        (pa.array([1_500_000], type=pa.timestamp("us", tz="+01:00")), [1.5]),
        (pa.array([1_500], type=pa.timestamp("ms")), [1.5]),
        (pa.array([1_500_000_001], type=pa.timestamp("ns")), [1.5]),
    ],
    ids=kind,
)
def test_numbers_order_rows_as_they_are_and_dates_as_seconds_in_utc(raw: Any, seconds: list[float]) -> None:
    assert times(raw, PLACE).tolist() == seconds


@pytest.mark.parametrize(
    "raw",
    [
        text_column("2026-01-01", ""),
        text_column("1", "NA"),
        pa.array([1.0, None]),
        pa.array([dt.date(2026, 1, 1), None]),
    ],
    ids=kind,
)
def test_a_missing_time_is_refused_with_its_row(raw: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: row 11, column 'x': no value"):
        times(raw, PLACE)


def test_a_text_that_is_no_time_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match=r"row 12, column 'x': '01\.02\.2026' is neither a number nor an ISO date"):
        times(text_column("2026-01-01", "2026-01-02", "01.02.2026"), PLACE)


@pytest.mark.parametrize("bad", ["x", "inf", "2026-01-01"])
def test_a_bad_value_among_numbers_is_the_one_that_is_told(bad: str) -> None:
    with pytest.raises(DataError, match="row 12, column 'x': "):
        times(text_column("1", "2", bad), PLACE)


def test_the_first_time_says_whether_all_have_a_zone() -> None:
    with_zone, without = ["2026-01-01T00:00:00Z"] * 2, ["2026-01-01T00:00:00"] * 2
    for values in (with_zone + without, without + with_zone):
        with pytest.raises(DataError, match=f"row 12, column 'x': '{values[2]}' is neither a number nor an ISO date"):
            times(text_column(*values), PLACE)


@pytest.mark.parametrize("stored", [pa.time32("s"), pa.time64("us"), pa.duration("s")], ids=str)
def test_a_time_of_day_and_a_duration_order_nothing(stored: Any) -> None:
    with pytest.raises(DataError, match=r"column 'x': holds .*, not numbers"):
        times(pa.array([1], type=stored), PLACE)


def test_a_stored_type_that_orders_nothing_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="holds list<item: int64>, not numbers"):
        times(pa.array([[1], [2]]), PLACE)


# --- names to numbers -------------------------------------------------------------------------------------------------


def test_a_category_becomes_its_index_and_a_missing_one_is_no_number() -> None:
    feature = Feature("colour", dtype="category", categories=("red", "blue"))
    assert category_codes(["blue", "red", None], feature, PLACE).tolist() == pytest.approx(
        [1.0, 0.0, math.nan], nan_ok=True
    )


def test_an_undeclared_category_is_refused_with_row_column_and_where_to_declare_it() -> None:
    feature = Feature("colour", dtype="category", categories=("red", "blue"))
    with pytest.raises(DataError) as caught:
        category_codes(["red", None, "green"], feature, PLACE)
    assert str(caught.value) == (
        "rows.csv: row 12, column 'x': 'green' is none of 'red', 'blue'; "
        "declare it in the categories of feature 'colour'"
    )


def test_a_label_becomes_its_index_and_an_unknown_one_is_refused() -> None:
    assert label_codes(["b", "a"], ("a", "b"), PLACE).tolist() == [1.0, 0.0]
    with pytest.raises(DataError, match=r"row 11, column 'x': 'c' is none of 'a', 'b'; add it to target\.labels"):
        label_codes(["b", "c"], ("a", "b"), PLACE)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["10", "9", "-1", "9"], ("-1", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        (["1", "+1", "01", "001"], ("+1", "001", "01", "1")),
        ([None, "true", "false"], ("false", "true")),
        ([], ()),
    ],
)
def test_labels_are_sorted_by_value_where_all_are_whole_numbers_and_else_by_alphabet(
    values: Sequence[str | None], labels: tuple[str, ...]
) -> None:
    assert found_labels(values) == labels
