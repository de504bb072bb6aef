"""The command that shows what validation found unusual, with the rows that show it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from trainer.cli.application import app
from trainer.errors import DataError, RunError
from trainer.pipeline.opening import Beginning
from trainer.pipeline.production import run_step
from trainer.pipeline.runs import list_runs
from trainer.project.loading import load_project

STATE = '\n[[features]]\nname = "state"\ndtype = "category"\ncategories = ["cold", "warm"]\non_missing = "flag"\n'


def show(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["pipeline", "anomalies", "--project", str(folder), *arguments])


def write_project(folder: Path, *, valid_max: float) -> Path:
    """The small project, with a category that lacks a value in row 7, and a reading of 99 in rows 3 and 8."""
    folder.mkdir()
    write_small_project(folder)
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    for place, line in enumerate(lines):
        pressure, vibration, quality = line.split(",")
        pressure = "99" if place in {3, 8} else pressure
        state = "" if place == 7 else ("cold", "warm")[place % 2]
        lines[place] = f"{pressure},{vibration},{quality},{state}"
    (folder / "rows.csv").write_text("\n".join([f"{header},state", *lines]) + "\n")
    text = (folder / "fieldloop.toml").read_text()
    text = text.replace('name = "pressure"\n', f'name = "pressure"\nvalid_max = {valid_max}\n')
    (folder / "fieldloop.toml").write_text(text + STATE)
    return folder


def validate(folder: Path) -> str:
    """Carry out a run as far as its validation; return its id."""
    loaded = load_project(folder)
    run_id = run_step(loaded, "extract", Beginning("manual", "a test"), executor="a test").run_id
    run_step(loaded, "validate", run_id, executor="a test")
    return run_id


@pytest.fixture
def project(new_store: NewStore, tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "project", valid_max=50.0)
    new_store(folder / ".fieldloop")
    return folder


def test_the_rows_of_an_anomaly_are_shown_whole_with_their_names(project: Path) -> None:
    run_id = validate(project)
    told = json.loads(show(project, "--json").stdout)
    assert told["run_id"] == run_id
    (anomaly,) = [each for each in told["anomalies"] if each["check"] == "valid_max"]
    assert (anomaly["feature"], anomaly["kind"], anomaly["rows"]) == ("pressure", "value", 2)
    first, second = anomaly["shown"]
    assert (first["row"], second["row"]) == (3, 8)
    assert first["value"] == first["values"]["pressure"] == 99.0
    lines = (project / "rows.csv").read_text().splitlines()
    _, vibration, quality, state = lines[4].split(",")
    assert first["values"] == {"pressure": 99.0, "vibration": float(vibration), "state": state, "quality": quality}
    assert first["origin"] == "own"
    text = show(project).output
    assert f"{anomaly['number']}. pressure: valid_max (value: the run went on)" in text
    assert f"   row 3: 99 in pressure 99, vibration {float(vibration):g}, state warm, quality {quality}" in text


def test_so_many_rows_are_shown_as_are_asked_for_and_the_rest_is_counted(project: Path) -> None:
    run_id = validate(project)
    text = show(project, run_id, "--rows", "1", "--feature", "pressure").output
    assert "row 3: 99" in text
    assert "row 8:" not in text
    assert "   and 1 more rows" in text
    assert "state:" not in text
    assert "no anomaly of 'vibration'" in show(project, run_id, "--feature", "vibration").output


def test_a_run_that_its_schema_ended_shows_why(new_store: NewStore, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", valid_max=-50.0)
    new_store(folder / ".fieldloop")
    with pytest.raises(DataError, match="do not follow the schema"):
        validate(folder)
    done = show(folder, "--rows", "2")
    assert done.exit_code == 0
    assert "pressure: valid_max (schema: it ended the run)" in done.output
    assert "   row 0: " in done.output
    assert "   and 398 more rows" in done.output


def test_a_run_without_anomalies_says_so(new_store: NewStore, tmp_path: Path) -> None:
    loaded = load_project(write_small_project(tmp_path))
    new_store(loaded.state)
    validate(tmp_path)
    assert show(tmp_path).output.endswith("no anomaly\n")
    assert json.loads(show(tmp_path, "--json").stdout)["anomalies"] == []


def test_a_run_that_has_not_come_so_far_is_told(project: Path) -> None:
    done = show(project)
    assert done.exit_code == RunError.exit_code
    assert "no run yet" in done.stderr
    run_step(load_project(project), "extract", Beginning("manual", "a test"), executor="a test")
    done = show(project)
    assert done.exit_code == RunError.exit_code
    assert "has not come to the step 'validate'" in done.stderr
    assert list_runs(project / ".fieldloop")[-1].head.run_id in done.stderr
