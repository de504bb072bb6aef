from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from trainer.errors import DataError
from trainer.features.files import read_joined, read_raw


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(folder: Path, columns: dict[str, list[object]]) -> Path:
    path = folder / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_raw(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_columns_of_a_csv_file_are_read_as_the_text_that_stands_there(tmp_path: Path) -> None:
    table = read_raw(written(tmp_path, "a,b\n007,NA\n1.50,\n"))
    assert table.to_pydict() == {"a": ["007", "1.50"], "b": ["NA", ""]}


def test_columns_of_a_parquet_file_keep_their_types(tmp_path: Path) -> None:
    table = read_raw(parquet(tmp_path, {"a": [1, None], "b": ["x", "y"]}))
    assert table.to_pydict() == {"a": [1, None], "b": ["x", "y"]}


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    renamed = parquet(tmp_path, {"a": [1]}).rename(tmp_path / "rows.csv")
    assert read_raw(renamed).to_pydict() == {"a": [1]}
    assert read_raw(written(tmp_path, "a\n1\n", "text.parquet")).to_pydict() == {"a": ["1"]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_of_the_header(tmp_path: Path, delimiter: str) -> None:
    table = read_raw(written(tmp_path, "a,b,c\n1,2,3\n".replace(",", delimiter)))
    assert table.to_pydict() == {"a": ["1"], "b": ["2"], "c": ["3"]}


def test_a_decimal_comma_is_no_delimiter_of_a_file_with_semicolons(tmp_path: Path) -> None:
    assert read_raw(written(tmp_path, "a;b\n1,5;2,5\n")).to_pydict() == {"a": ["1,5"], "b": ["2,5"]}


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    table = read_raw(written(tmp_path, b"\xef\xbb\xbfa;b\r\n01;2\r\n"))
    assert table.to_pydict() == {"a": ["01"], "b": ["2"]}


def test_a_value_in_quotes_may_hold_line_ends_and_delimiters(tmp_path: Path) -> None:
    table = read_raw(written(tmp_path, '"a\nb",c\n"one\ntwo, three","say ""no"""\n4,5\n'))
    assert table.to_pydict() == {"a\nb": ["one\ntwo, three", "4"], "c": ['say "no"', "5"]}


def test_values_in_quotes_may_hold_line_ends_however_long_the_file_is(tmp_path: Path) -> None:
    value = "one\n" * 20
    table = read_raw(written(tmp_path, "a,b\n" + f'"{value}",2\n' * 20_000))
    assert table.num_rows == 20_000
    assert set(table.column("a").to_pylist()) == {value}


@pytest.mark.parametrize("before", ["\n", "\r\n", "\n\n\n\n\n"])
def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path, before: str) -> None:
    assert read_raw(written(tmp_path, before + "a;b\n01;2\n")).to_pydict() == {"a": ["01"], "b": ["2"]}
    assert refusal(written(tmp_path, before + "a;a\n1;2\n")) == "two columns are named 'a' in the header; rename one"


def test_delimiters_in_quoted_names_are_not_counted(tmp_path: Path) -> None:
    text = '"t, in °C";"h, in %"\n1;2\n'
    assert read_raw(written(tmp_path, text)).to_pydict() == {"t, in °C": ["1"], "h, in %": ["2"]}


@pytest.mark.parametrize("content", ["", "\n", " \n", "\n\n\n\n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal(written(tmp_path, content)) == "the file is empty"


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a,b\n")) == "there is a header but no row of data"
    assert refusal(parquet(tmp_path, {"a": []})) == "there is a header but no row of data"


def test_a_file_that_cannot_be_read_is_refused_with_what_to_check(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none.csv")
        == "cannot be read: No such file or directory; check data.path in the project file"
    )
    assert refusal(tmp_path).startswith("cannot be read: Is a directory")


@pytest.mark.parametrize("cut", [4, 40, -1])
def test_a_parquet_file_that_was_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    whole = parquet(tmp_path, {"a": [1, 2, 3]}).read_bytes()
    assert refusal(written(tmp_path, whole[:cut], "cut.parquet")).startswith("not a readable Parquet file: ")


def test_two_columns_of_one_name_are_refused_in_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    assert "Multiple matches" in refusal(path)


def test_two_columns_of_one_name_are_refused_in_a_csv_file(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "a,b,a\n1,2,3\n")) == "two columns are named 'a' in the header; rename one"


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n".encode("utf-16"),
        b"a,gr\xf6\xdfe\n1,2\n",
        b"a,b\n" + b"1,2\n" * 100_000 + b"1,\xe9\n",  # where the header's reader never looks
        b"a" * 200_000 + b",b\n1,2\n",
    ],
    ids=["utf-16", "header in Latin-1", "last row in Latin-1", "endless name"],
)
def test_a_file_that_is_no_csv_in_utf_8_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "CSV file in UTF-8: " in refusal(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "row", "values"),
    [
        ("a,b\n3\n1,2\n", 0, 1),
        ("a,b\n1,2\n1,2,3\n4\n", 1, 3),
        ("a,b\n1,2\n\n\n3\n", 1, 1),
        ('a,b\n"1\n\n1",2\n3\n', 1, 1),
        ("a,b\n1,2,3,4\n1,2,3,4\n", 0, 4),
        ("a,b\n" + "1,2\n" * 300_000 + "1,2,3\n", 300_000, 3),
    ],
    ids=["the first", "the first of two", "after blank lines", "after quoted line ends", "every row", "far down"],
)
def test_a_row_of_another_length_than_the_header_is_refused_by_its_number(
    tmp_path: Path, content: str, row: int, values: int
) -> None:
    told = f"row {row} has {values} values, but the header has 2 names; mend or remove that row"
    assert refusal(written(tmp_path, content)) == told


def test_a_header_one_name_short_is_refused_with_where_the_name_is_missing(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, "pressure,quality\n1,0.5,good\n2,0.7,scrap\n"))
    assert told.startswith("header one name short: it has 2 names, but row 0 has 3 values;")
    assert "before 'pressure'" in told


# --- several files ----------------------------------------------------------------------------------------------------


def test_several_files_are_one_table_that_knows_where_each_begins(tmp_path: Path) -> None:
    paths = [written(tmp_path, f"a;b\n{n};x\n", f"{n}.csv") for n in range(3)]
    paths[1].write_text("b,a\ny,5\ny,6\n", encoding="utf-8")
    table, later = read_joined(paths)
    assert table.to_pydict() == {"a": ["0", "5", "6", "2"], "b": ["x", "y", "y", "x"]}
    assert later == ((1, paths[1]), (3, paths[2]))


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ("a,c\n1,2\n", "there is no column 'b', which {first} has"),
        ("a,b,c\n1,2,3\n", "the column 'c' is not in {first}"),
        ("a,b\n", "there is a header but no row of data"),
    ],
)
def test_a_file_with_other_columns_than_the_first_is_refused(tmp_path: Path, other: str, problem: str) -> None:
    first, second = written(tmp_path, "a,b\n1,2\n", "first.csv"), written(tmp_path, other, "second.csv")
    with pytest.raises(DataError) as caught:
        read_joined([first, second])
    assert str(caught.value).startswith(f"{second}: {problem.format(first=first)}")


def test_a_column_of_another_type_than_in_the_first_file_is_refused(tmp_path: Path) -> None:
    first, second = written(tmp_path, "a\n1\n"), parquet(tmp_path, {"a": [1]})
    with pytest.raises(DataError) as caught:
        read_joined([first, second])
    assert str(caught.value).startswith(f"{second}: column 'a' holds int64, in {first} it holds string")


@pytest.mark.shared
def test_the_occupancy_data_have_a_header_one_name_short(shared_data: Path) -> None:
    told = refusal(shared_data / "occupancy" / "datatraining.txt")
    assert told.startswith("header one name short: it has 7 names, but row 0 has 8 values;")
    assert "before 'date'" in told
