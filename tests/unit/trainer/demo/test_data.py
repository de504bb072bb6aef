import csv

import pytest

from trainer.demo.data import DATA_SETS
from trainer.project.loading import load_project


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_is_a_project_like_a_users(name, tmp_path):
    data = DATA_SETS[name]
    data.write(tmp_path, 7)
    loaded = load_project(tmp_path)
    assert loaded.project.seed == 7
    with loaded.data_paths[0].open(newline="") as file:
        header, *rows = csv.reader(file)
    assert {f.name for f in loaded.project.features} | {loaded.project.target.column} == set(header) - {"writer"}
    assert all(len(row) == len(header) for row in rows)
    for share in data.shares(5):
        assert share.first_row >= (loaded.project.data.rows or (0, 0))[1], "a device replays a row it was trained on"
        assert share.end_row <= len(rows)


def test_the_rainfall_data_are_those_of_the_publisher(tmp_path):
    DATA_SETS["rainfall"].write(tmp_path, 0)
    lines = (tmp_path / "rainfall.csv").read_text().splitlines()
    assert len(lines) == 1 + 18_159
    assert lines[0].endswith(",rain")
