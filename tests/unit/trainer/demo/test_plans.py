import pytest

from tests.unit.trainer.cli.projects import N_ROWS, write_small_project
from trainer.demo.data import DATA_SETS
from trainer.demo.plans import Manner, plan_of_data, plan_of_project
from trainer.errors import DataError
from trainer.project.loading import load_project


@pytest.fixture
def project(tmp_path):
    folder = write_small_project(tmp_path)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text().replace('path = ["rows.csv"]', 'path = ["rows.csv"]\nrows = [0, 250]'))
    return folder


def test_a_users_rows_after_the_training_rows_are_dealt_out_and_all_state_stays_in_the_demos_folder(project):
    plan = plan_of_project(project, project / "play", 3, Manner())
    assert sorted(row for share in plan.shares for row in share.rows) == list(range(250, N_ROWS))
    assert plan.loaded.folder == project / "play"
    assert plan.replay.path == project / "play" / "replay.csv"
    assert plan.rows_per_second == 1.0
    assert plan_of_project(project, project / "play", 3, Manner(rows_per_second=7.0)).rows_per_second == 7.0


def test_devices_that_are_kept_go_on_with_the_rows_from_the_first_one_on(project):
    plan = plan_of_project(project, project / "play", 3, Manner(keep=True))
    assert plan.replay.end_row == N_ROWS
    length = N_ROWS - 250
    rows = sorted(row for share in plan.shares for row in share.rows)
    assert rows == list(range(250, len(plan.replay.rows)))
    assert len(rows) >= 10 * length
    assert plan.replay.rows[N_ROWS] == plan.replay.rows[250]


def test_writers_that_are_kept_go_on_with_the_next_writers_rows(tmp_path):
    plan = plan_of_data(DATA_SETS["digits"], tmp_path, 2, Manner(keep=True), seed=1)
    first, second = plan.shares
    assert (first.first_row, second.first_row) == (386, 516)
    assert first.end_row == second.end_row == len(plan.replay.rows)


def test_a_project_that_the_demo_would_remove_is_left_alone(project):
    for folder in (project, project.parent):
        with pytest.raises(DataError, match="which the demo makes anew"):
            plan_of_project(project, folder, 2, Manner())
    assert load_project(project).project.name == "quality"


def test_a_project_that_is_wrong_costs_no_earlier_demo(project):
    (project / "play").mkdir()
    (project / "play" / ".fieldloop-demo").touch()
    (project / "play" / "summary.json").write_text("{}")
    (project / "fieldloop.toml").write_text("nonsense = 1")
    with pytest.raises(Exception, match="nonsense"):
        plan_of_project(project, project / "play", 2, Manner())
    assert (project / "play" / "summary.json").exists()
