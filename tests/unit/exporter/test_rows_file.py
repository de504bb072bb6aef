import numpy as np
import pytest

from exporter.errors import RowsError
from exporter.rows_file import load_rows, truth_of


def write(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def test_columns_besides_the_target_are_features_in_order(tmp_path):
    found = load_rows(write(tmp_path, "a,y,b\n1,no,2\n,yes,4\n"), "y")
    assert [(f.name, f.on_missing) for f in found.features] == [("a", "flag"), ("b", "refuse")]
    assert np.array_equal(found.rows, np.array([[1, 2], [np.nan, 4]], dtype=np.float32), equal_nan=True)
    assert truth_of(found, ("no", "yes"), tmp_path).tolist() == [0, 1]


def test_without_labels_the_truth_is_a_number(tmp_path):
    found = load_rows(write(tmp_path, "a,y\n1,2.5\n"), "y")
    assert truth_of(found, (), tmp_path).tolist() == [2.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column 'y'; there are: a, b"),
        ("a,y\n", "a header, but no row"),
        ("", "no column 'y'"),
        ("a,y\n1,2\n1,2,3\n", "row 2 has 3 cells, the header has 2"),
        ("a,y\n1,2\nfive,2\n", "row 2, column 'a': 'five' is not a number"),
        ("a,y\n1, \n", "row 1, column 'y': empty"),
    ],
)
def test_bad_rows_are_refused_by_place(tmp_path, text, message):
    with pytest.raises(RowsError, match=message):
        load_rows(write(tmp_path, text), "y")


def test_a_truth_that_is_no_label_is_refused_by_row(tmp_path):
    found = load_rows(write(tmp_path, "a,y\n1,no\n2,maybe\n"), "y")
    with pytest.raises(RowsError, match="row 2: 'maybe' is not a label of the model: no, yes"):
        truth_of(found, ("no", "yes"), tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RowsError, match="cannot be read as CSV"):
        load_rows(path, "y")
