import csv

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.unit.trainer.signal_project import write_signal_project
from trainer.demo.replay import write_replay
from trainer.errors import DataError
from trainer.project.loading import load_project

PROJECT = """
name = "m"
[data]
path = {path}
{data}
[target]
column = "y"
task = "{task}"
[[features]]
name = "x"
on_missing = "flag"
[[features]]
name = "kind"
dtype = "category"
categories = ["a", "b"]
"""


def project(folder, *files, data="rows = [0, 2]", task="classification"):
    text = PROJECT.format(path=list(files), data=data, task=task).replace("'", '"')
    (folder / "fieldloop.toml").write_text(text)
    return load_project(folder)


def rows_in(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_csv_file_is_replayed_as_it_stands(tmp_path):
    (tmp_path / "rows.csv").write_text("y,x,kind,rest\n1,0.10,a,r\n0,NA,b,r\n1,broken,c,r\n")
    replay = write_replay(project(tmp_path, "rows.csv"))
    assert rows_in(replay.path) == [["x", "kind"], ["0.10", "a"], ["", "b"], ["broken", "c"]]
    assert replay.rows == {0: ("0.10", "a"), 1: ("", "b"), 2: ("broken", "c")}
    assert replay.truth == {0: "1", 1: "0", 2: "1"}
    assert replay.first_row == 2


def test_parquet_is_replayed_as_the_text_that_training_would_read(tmp_path):
    table = pa.table(
        {"x": [0.1, None, 3.0], "kind": pa.array(["a", "b", "a"]).dictionary_encode(), "y": [1.5, None, 2]}
    )
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    replay = write_replay(project(tmp_path, "rows.parquet", task="regression"))
    assert rows_in(replay.path)[1:] == [["0.1", "a"], ["", "b"], ["3", "a"]]
    assert replay.truth == {0: 1.5, 2: 2.0}, "nobody knows the truth of row 1"


def test_true_and_false_among_numbers_are_one_and_zero(tmp_path):
    table = pa.table({"x": [True, False, None], "kind": ["a", "b", "a"], "y": ["u", "v", "u"]})
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    assert [row[0] for row in write_replay(project(tmp_path, "rows.parquet")).rows.values()] == ["1", "0", ""]


def test_several_files_follow_each_other_and_later_rows_come_in_the_order_of_time(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,kind,y\n5,1,a,u\n9,2,a,u\n8,3,a,u\n")
    (tmp_path / "b.csv").write_text("kind,x,t,y\nb,4,7,v\nb,5,6,v\n")
    loaded = project(tmp_path, "a.csv", "b.csv", data='rows = [0, 2]\ntimestamp = "t"')
    replay = write_replay(loaded)
    assert [row[0] for row in replay.rows.values()] == ["1", "2", "5", "4", "3"]
    assert list(replay.truth.values()) == ["u", "u", "v", "v", "u"]


def test_for_devices_that_go_on_the_rows_after_training_come_again(tmp_path):
    (tmp_path / "rows.csv").write_text("y,x,kind\nu,1,a\nv,2,b\nu,3,a\nv,4,b\n")
    replay = write_replay(project(tmp_path, "rows.csv"), passes=3)
    assert [row[0] for row in rows_in(replay.path)[1:]] == ["1", "2", "3", "4", "3", "4", "3", "4"]
    assert (replay.first_row, replay.end_row, len(replay.rows)) == (2, 4, 8)
    assert [replay.truth[row] for row in range(2, 8)] == ["u", "v"] * 3


@pytest.mark.parametrize(("data", "problem"), [("", "names no training rows"), ("rows = [0, 3]", "none is left")])
def test_without_rows_after_the_training_rows_there_is_nothing_to_replay(data, problem, tmp_path):
    (tmp_path / "rows.csv").write_text("y,x,kind\n1,1,a\n0,2,b\n1,3,a\n")
    with pytest.raises(DataError, match=problem):
        write_replay(project(tmp_path, "rows.csv", data=data))
    assert not (tmp_path / "replay.csv").exists()


def test_readings_of_a_signal_are_not_replayed(tmp_path):
    write_signal_project(tmp_path, changes=(('path = ["readings.csv"]', 'path = ["readings.csv"]\nrows = [0, 2000]'),))
    with pytest.raises(DataError, match="key 'signal': what is replayed are rows"):
        write_replay(load_project(tmp_path))


def test_rows_of_views_and_rows_without_labels_are_not_replayed(tmp_path):
    project(tmp_path, "rows.csv", data='view = "hourly"\ntimestamp = "at"')
    with pytest.raises(DataError, match=r"key 'data\.view': what is replayed are rows of files"):
        write_replay(load_project(tmp_path))
    project(tmp_path, "rows.csv", task="anomaly")
    file = tmp_path / "fieldloop.toml"
    file.write_text(file.read_text().replace('column = "y"\n', ""))
    with pytest.raises(DataError, match=r"key 'target\.column': what is replayed is answered with the truth"):
        write_replay(load_project(tmp_path))
