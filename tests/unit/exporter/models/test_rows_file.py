import numpy as np
import pandas as pd
import pytest

from exporter.errors import RowsError
from exporter.models.rows_file import Wanted, load_rows, truth_of


def write(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def truth_in(found):
    assert found.truth is not None
    return found.truth


def test_columns_besides_the_target_are_features_in_order(tmp_path):
    found = load_rows(write(tmp_path, "a,y,b\n1,no,2\n,yes,4\n"), "y")
    assert [(f.name, f.on_missing) for f in found.features] == [("a", "flag"), ("b", "refuse")]
    assert np.array_equal(found.rows, np.array([[1, 2], [np.nan, 4]], dtype=np.float32), equal_nan=True)
    assert truth_of(truth_in(found), ("no", "yes"), tmp_path).tolist() == [0, 1]


def test_without_labels_the_truth_is_a_number(tmp_path):
    found = load_rows(write(tmp_path, "a,y\n1,2.5\n"), "y")
    assert truth_of(truth_in(found), (), tmp_path).tolist() == [2.5]


def test_without_a_target_every_column_is_a_feature(tmp_path):
    found = load_rows(write(tmp_path, "a,b\n1,2\n"), None)
    assert found.truth is None
    assert found.rows.tolist() == [[1, 2]]


def test_columns_come_in_the_models_order_and_others_are_left(tmp_path):
    found = load_rows(write(tmp_path, "when,b,y,a\nnow,1,0,2\n"), "y", Wanted(("a", "b"), 2))
    assert [feature.name for feature in found.features] == ["a", "b"]
    assert found.rows.tolist() == [[2, 1]]


def test_texts_are_the_indices_of_what_the_model_knows(tmp_path):
    """Also texts that look like numbers; what the model never met is missing, as on a device."""
    path = write(tmp_path, "colour,code\nred,01\nblue, 02 \nmauve,\n")
    found = load_rows(path, None, Wanted(None, 2, {0: ("blue", "red"), 1: ("01", "02")}))
    assert np.array_equal(found.rows, np.array([[1, 0], [0, 1], [np.nan, np.nan]], dtype=np.float32), equal_nan=True)
    assert [f.categories for f in found.features] == [("blue", "red"), ("01", "02")]
    assert {(f.dtype, f.on_missing) for f in found.features} == {("category", "flag")}


def test_parquet_is_read_with_its_types(tmp_path):
    frame = pd.DataFrame(
        {
            "n": [1, 2],
            "x": [0.5, None],
            "b": [True, False],
            "t": ["u", None],
            "c": pd.Categorical(["v", "w"]),
            "y": [3, 4],
        }
    )
    frame.to_parquet(tmp_path / "rows.data")
    found = load_rows(tmp_path / "rows.data", "y", Wanted(None, 5, {3: ("t", "u"), 4: ("v", "w")}))
    expected = np.array([[1, 0.5, 1, 1, 0], [2, np.nan, 0, np.nan, 1]], dtype=np.float32)
    assert np.array_equal(found.rows, expected, equal_nan=True)
    assert truth_of(truth_in(found), ("3", "4"), tmp_path).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}),
            r"column 'a' holds timestamp.*neither a number nor a text",
        ),
        (pd.DataFrame({"a": ["x"]}), "row 1, column 'a': 'x' is not a number"),
        (pd.DataFrame({"a": [1e300]}), "row 1, column 'a': 1e.300 is more than float32 holds"),
        (pd.DataFrame({"a": []}), "a header, but no row"),
    ],
)
def test_bad_parquet_is_refused_by_place(frame, message, tmp_path):
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(RowsError, match=message):
        load_rows(tmp_path / "rows.parquet", None)


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "rows").write_bytes(b"PAR1 and nothing")
    with pytest.raises(RowsError, match="cannot be read as Parquet"):
        load_rows(tmp_path / "rows", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column 'y'; there are: a, b"),
        ("a,y\n", "a header, but no row"),
        ("", "no header"),
        ("a,y\n1,2\n1,2,3\n", "row 2 has 3 cells, the header has 2"),
        ("a,y\n1,2\nfive,2\n", "row 2, column 'a': 'five' is not a number"),
        ("a,y\n1e39,2\n", "row 1, column 'a': 1e39 is more than float32 holds"),
        ("a,y\ninf,2\n", "row 1, column 'a': inf is more than float32 holds"),
        ("a,y\n1, \n", "row 1, column 'y': empty"),
        ("a,a,y\n1,2,3\n", "two columns are called 'a'"),
        ("y\n1\n", "no column besides 'y'"),
    ],
)
def test_bad_rows_are_refused_by_place(tmp_path, text, message):
    with pytest.raises(RowsError, match=message):
        load_rows(write(tmp_path, text), "y")


@pytest.mark.parametrize(
    ("wanted", "target", "message"),
    [
        (Wanted(None, 3), "y", "2 columns besides 'y', the model takes 3"),
        (Wanted(None, 2), None, "3 columns, the model takes 2; name the truth's column with --target"),
        (Wanted(("a", "z"), 2), "y", "no column 'z', which the model takes; there are: a, b"),
        (Wanted(("a", "y"), 2), "y", "no column 'y', which the model takes"),
    ],
)
def test_rows_of_another_model_are_refused(wanted, target, message, tmp_path):
    with pytest.raises(RowsError, match=message):
        load_rows(write(tmp_path, "a,b,y\n1,2,3\n"), target, wanted)


def test_a_truth_that_is_no_label_is_refused_by_row(tmp_path):
    found = load_rows(write(tmp_path, "a,y\n1,no\n2,maybe\n"), "y")
    with pytest.raises(RowsError, match="row 2: 'maybe' is not a label of the model: no, yes"):
        truth_of(truth_in(found), ("no", "yes"), tmp_path)


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (("0", "1"), ("1.0", "0")),
        (("False", "True"), ("true", "0")),
        (("0.5", "1.0"), ("1", ".5")),
        (("a", "b"), ("b", "a")),
    ],
)
def test_labels_are_known_however_they_are_written(labels, cells, tmp_path):
    found = load_rows(write(tmp_path, f"a,y\n1,{cells[0]}\n2,{cells[1]}\n"), "y")
    assert truth_of(truth_in(found), labels, tmp_path).tolist() == [1, 0]


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RowsError, match="cannot be read as CSV"):
        load_rows(path, "y")


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(RowsError, match=r"absent\.csv: cannot be read"):
        load_rows(tmp_path / "absent.csv", None)
