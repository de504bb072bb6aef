import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.unit.trainer.features.small_project import FEATURES, ROWS, write_project
from trainer.errors import DataError
from trainer.features.source import read_source
from trainer.project.project import LoadedProject

COLOUR = '[[features]]\nname = "colour"\ndtype = "category"\ncategories = ["red", "blue"]\n'
TIMED = "at,pressure,vibration,quality\n"


def read(loaded: LoadedProject) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = read_source(loaded).to_pydict()
    return columns


def refusal(loaded: LoadedProject) -> str:
    with pytest.raises(DataError) as caught:
        read_source(loaded)
    return str(caught.value).replace(f"{loaded.folder}/", "")


def rows(first: int, last: int) -> str:
    return "pressure,vibration,quality\n" + "".join(f"{row},0,good\n" for row in range(first, last))


def test_features_are_numbers_in_the_order_of_the_project_and_the_truth_is_a_name(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, "quality,other,vibration,pressure\ngood,?,10,1\nscrap,!,20,2\n")
    assert list(read(loaded).items()) == [
        ("x.pressure", [1.0, 2.0]),
        ("x.vibration", [10.0, 20.0]),
        ("truth", ["good", "scrap"]),
    ]


def test_the_truth_of_a_regression_is_a_number(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, "pressure,vibration,quality\n1,2,0.25\n", target='task = "regression"')
    assert read(loaded)["truth"] == [0.25]


def test_parquet_and_csv_files_of_the_same_rows_are_read_alike(tmp_path: Path) -> None:
    from_text = read(write_project(tmp_path, ROWS))
    stored = pa.table({"pressure": [1, 2, 3], "vibration": [10.0, 20.0, 30.0], "quality": ["good", "scrap", "good"]})
    pa.parquet.write_table(stored, tmp_path / "rows0.csv")
    assert read(write_project(tmp_path, (tmp_path / "rows0.csv").read_bytes())) == from_text


# --- which rows -------------------------------------------------------------------------------------------------------


def test_several_files_are_read_one_after_the_other_in_the_order_of_the_project(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, rows(5, 7), rows(0, 2), rows(3, 4))
    assert read(loaded)["x.pressure"] == [5.0, 6.0, 0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("first", "last"), [(0, 9), (0, 1), (2, 3), (2, 5), (3, 6), (4, 5), (1, 8), (8, 9), (3, 9), (0, 3)]
)
def test_the_rows_of_the_project_are_counted_over_all_files(tmp_path: Path, first: int, last: int) -> None:
    loaded = write_project(tmp_path, rows(0, 3), rows(3, 5), rows(5, 9), data=f"rows = [{first}, {last}]")
    assert read(loaded)["x.pressure"] == list(range(first, last))


def test_rows_beyond_the_data_are_refused(tmp_path: Path) -> None:
    told = refusal(write_project(tmp_path, rows(0, 3), rows(3, 5), data="rows = [0, 6]"))
    assert told == "rows0.csv, rows1.csv: 5 rows of data, but data.rows ends at 6; shorten it or add files"
    assert "data.rows ends at 9" in refusal(write_project(tmp_path, rows(0, 3), data="rows = [8, 9]"))


def test_rows_that_the_project_does_not_name_are_not_judged(tmp_path: Path) -> None:
    bad = "bad,bad,\n"
    loaded = write_project(tmp_path, rows(0, 2) + bad, rows(2, 4) + bad, data="rows = [0, 2]")
    assert read(loaded)["x.pressure"] == [0.0, 1.0]


def test_a_refused_value_is_told_by_its_row_in_its_own_file(tmp_path: Path) -> None:
    text = rows(3, 9).replace("\n5,", "\nhigh,")
    told = refusal(write_project(tmp_path, rows(0, 3), text, data="rows = [4, 9]"))
    assert told.startswith("rows1.csv: row 2, column 'pressure': 'high' is not a number")


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_timestamp_orders_the_rows_across_files_and_ties_stand_as_they_were(tmp_path: Path) -> None:
    first = TIMED + "2026-01-03,1,0,good\n2026-01-01,2,0,scrap\n"
    second = TIMED + "2026-01-02T12:00,3,0,good\n2026-01-01,4,0,good\n"
    columns = read(write_project(tmp_path, first, second, data='timestamp = "at"'))
    assert columns["x.pressure"] == [2.0, 4.0, 3.0, 1.0]
    assert columns["truth"] == ["scrap", "good", "good", "good"]


def test_rows_of_one_time_stand_as_they_were_however_many_they_are(tmp_path: Path) -> None:
    text = TIMED + "".join(f"{row % 2},{row},0,good\n" for row in range(100))
    order = [*range(0, 100, 2), *range(1, 100, 2)]
    assert read(write_project(tmp_path, text, data='timestamp = "at"'))["x.pressure"] == order


def test_numbers_order_the_rows_by_value_and_not_by_alphabet(tmp_path: Path) -> None:
    text = TIMED + "10,1,0,good\n9,2,0,good\n-1,3,0,good\n"
    assert read(write_project(tmp_path, text, data='timestamp = "at"'))["x.pressure"] == [3.0, 2.0, 1.0]


def test_rows_are_chosen_before_they_are_ordered(tmp_path: Path) -> None:
    text = TIMED + "5,0,0,good\n2,1,0,good\n1,2,0,good\n6,3,0,good\n"
    loaded = write_project(tmp_path, text, data='timestamp = "at"\nrows = [1, 3]')
    assert read(loaded)["x.pressure"] == [2.0, 1.0]


@pytest.mark.parametrize("later", ["", TIMED + "1,4,0,good\n"])
def test_rows_that_are_later_than_rows_left_for_later_are_refused(later: str, tmp_path: Path) -> None:
    first = TIMED + "2,0,0,good\n3,1,0,good\n" + ("" if later else "1,4,0,good\n")
    loaded = write_project(tmp_path, first, *([later] if later else []), data='timestamp = "at"\nrows = [0, 2]')
    with pytest.raises(DataError) as caught:
        read(loaded)
    place = "rows1.csv: row 0" if later else "rows0.csv: row 2"
    assert f"{place}, column 'at': is earlier than a row of data.rows" in str(caught.value)


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+02:00"])
def test_times_with_a_zone_are_times_in_utc(zone: str, tmp_path: Path) -> None:
    text = TIMED + f"2026-01-02T00:00:00{zone},1,0,good\n2026-01-01T00:00:00{zone},2,0,scrap\n"
    assert read(write_project(tmp_path, text, data='timestamp = "at"'))["x.pressure"] == [2.0, 1.0]


def test_a_row_without_its_time_is_refused(tmp_path: Path) -> None:
    text = TIMED + "2026-01-03,1,0,good\n,2,0,good\n"
    assert refusal(write_project(tmp_path, text, data='timestamp = "at"')).startswith("rows0.csv: row 1, column 'at'")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "column"),
    [("", "pressure"), ("", "quality"), ('timestamp = "sent"', "sent"), ('entity = "unit"', "unit")],
)
def test_a_missing_column_is_refused_with_its_file(tmp_path: Path, data: str, column: str) -> None:
    good = "sent,unit,pressure,vibration,quality\n1,a,1,10,good\n"
    lacking = good.replace(column, "another name")
    told = refusal(write_project(tmp_path, good, lacking, data=data))
    assert told.startswith(f"rows1.csv: column {column!r}: there is no such column; ")


def test_a_missing_column_is_told_before_a_bad_value_of_another(tmp_path: Path) -> None:
    told = refusal(write_project(tmp_path, "pressure,vibration,qualty\nhigh,10,good\n"))
    assert told == "rows0.csv: column 'quality': there is no such column; did you mean 'qualty'?"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ROWS.replace("2,20", "high,20"), "row 1, column 'pressure': 'high' is not a number"),
        (ROWS.replace("2,20", "2,"), "row 1, column 'vibration': no value"),
        (ROWS.replace("scrap", ""), "row 1, column 'quality': no value"),
        (ROWS.replace(",10,", ",,").replace(",20,", ",NA,").replace(",30,", ",,"), "column 'vibration': all 3 values"),
        (ROWS.replace("quality", "quality,"), "row 0 has 3 values, but the header has 4 names"),
        (ROWS.replace("vibration,", ""), "header one name short: it has 2 names, but row 0 has 3 values"),
        ("pressure,vibration,quality\n", "there is a header but no row of data"),
        ("", "the file is empty"),
    ],
)
def test_data_that_are_not_what_the_project_says_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert refusal(write_project(tmp_path, text)).startswith(f"rows0.csv: {problem}")


def test_a_truth_that_is_no_number_is_refused_for_regression(tmp_path: Path) -> None:
    told = refusal(write_project(tmp_path, ROWS, target='task = "regression"'))
    assert told.startswith("rows0.csv: row 0, column 'quality': 'good' is not a number")


def test_a_missing_truth_is_refused_for_regression(tmp_path: Path) -> None:
    text = "pressure,vibration,quality\n1,10,1\n2,20,\n"
    told = refusal(write_project(tmp_path, text, target='task = "regression"'))
    assert told.startswith("rows0.csv: row 1, column 'quality': no value")


def test_a_label_that_the_project_does_not_declare_is_refused(tmp_path: Path) -> None:
    loaded = write_project(tmp_path, ROWS, target='task = "classification"\nlabels = ["good", "bad"]')
    assert refusal(loaded).startswith("rows0.csv: row 1, column 'quality': 'scrap' is none of 'good', 'bad'; add it to")


# --- rules ------------------------------------------------------------------------------------------------------------


def test_a_missing_value_is_kept_as_missing_where_the_rule_flags_it_and_else_refused(tmp_path: Path) -> None:
    text = ROWS.replace("2,20", ",20")
    flagged = FEATURES.replace('"pressure"', '"pressure"\non_missing = "flag"')
    pressure = read(write_project(tmp_path, text, features=flagged))["x.pressure"]
    assert pressure == pytest.approx([1.0, math.nan, 3.0], nan_ok=True)
    refused = FEATURES.replace('"pressure"', '"pressure"\non_missing = "refuse"')
    assert "row 1, column 'pressure': no value" in refusal(write_project(tmp_path, text, features=refused))


def test_a_category_is_kept_by_name_and_a_missing_one_follows_its_rule(tmp_path: Path) -> None:
    text = "colour,quality\nblue,good\n,scrap\nred,good\n"
    assert "row 1, column 'colour': no value" in refusal(write_project(tmp_path, text, features=COLOUR))
    flagged = write_project(tmp_path, text, features=COLOUR + 'on_missing = "flag"\n')
    assert read(flagged)["x.colour"] == ["blue", None, "red"]


def test_an_undeclared_category_is_refused(tmp_path: Path) -> None:
    told = refusal(write_project(tmp_path, "colour,quality\nblue,good\ngreen,scrap\n", features=COLOUR))
    assert told.startswith("rows0.csv: row 1, column 'colour': 'green' is none of 'red', 'blue'; declare it")


def test_the_entity_is_read_as_a_name_and_must_be_known(tmp_path: Path) -> None:
    text = "unit,pressure,vibration,quality\n7,1,10,good\nb,2,20,scrap\n"
    assert read(write_project(tmp_path, text, data='entity = "unit"'))["entity"] == ["7", "b"]
    told = refusal(write_project(tmp_path, text.replace("b,", ","), data='entity = "unit"'))
    assert told.startswith("rows0.csv: row 1, column 'unit': no value")


@pytest.mark.shared
def test_rows_are_counted_on_from_one_year_of_a_gas_turbine_to_the_next(tmp_path: Path, shared_data: Path) -> None:
    years = [(shared_data / "gas_turbine" / f"gt_{year}.csv").read_bytes() for year in (2011, 2012)]
    loaded = write_project(
        tmp_path,
        *(year.replace(b"NOX", b"quality") for year in years),
        features='[[features]]\nname = "AT"\n',
        target='task = "regression"',
        data="rows = [7410, 7412]",
    )
    assert read(loaded) == {"x.AT": [6.9279, 6.8594], "truth": [92.498, 82.722]}
