import json

import pytest

from trainer.demo.records import read_predictions
from trainer.errors import DataError


def line(row: int, label: str = "1", version: int = 1) -> str:
    return json.dumps({"id": f"d.{row}", "row": row, "at": 1.0 + row, "bundle": f"m/{version}", "label": label}) + "\n"


def test_a_missing_file_holds_no_rows(tmp_path):
    assert read_predictions(tmp_path / "none.jsonl") == []


def test_rows_come_in_order_and_the_last_line_of_a_row_counts(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(line(3) + line(1) + line(3, "0", 2))
    rows = read_predictions(file)
    assert [(row.row, row.answer, row.version) for row in rows] == [(1, "1", 1), (3, "0", 2)]


def test_a_line_that_a_kill_cut_off_is_no_line(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(line(1) + line(2)[:-10])
    assert [row.row for row in read_predictions(file)] == [1]


def test_values_are_read_as_numbers(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"id": "d.1", "row": 1, "at": 2.0, "bundle": "m/1", "value": 3}) + "\n")
    assert read_predictions(file)[0].answer == 3.0


@pytest.mark.parametrize("text", ["{}\n", "no json\n", '{"row": 1, "at": 1, "bundle": "m", "label": "1"}\n'])
def test_a_whole_line_that_is_no_prediction_is_refused_with_its_place(tmp_path, text):
    file = tmp_path / "p.jsonl"
    file.write_text(line(1) + text)
    with pytest.raises(DataError, match="line 2"):
        read_predictions(file)
