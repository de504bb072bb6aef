"""The command that lists and keeps a project's schedule."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.continuous.schedule import STATE_NAME
from trainer.pipeline.runs import list_runs
from trainer.project.loading import load_project


def add(project: Path, text: str) -> Path:
    file = project / "fieldloop.toml"
    file.write_text(f"{file.read_text()}\n[triggers]\n{text}\n")
    return project


def test_the_next_times_are_listed_in_their_zone_and_for_machines(tmp_path: Path):
    project = add(write_small_project(tmp_path), 'schedule = "0 3 * * 1"\ntimezone = "Europe/Berlin"\nnew_labels = 500')
    told = CliRunner().invoke(app, ["pipeline", "schedule", "--project", str(project), "--next", "2"]).output
    first, second, labels = told.splitlines()
    assert " 03:00 CE" in first
    assert first < second
    assert "500" in labels
    told = CliRunner().invoke(app, ["pipeline", "schedule", "--project", str(project), "--json"]).output
    assert len(json.loads(told)["next_utc_s"]) == 5


def test_a_project_without_one_is_told_the_key(tmp_path: Path):
    told = CliRunner().invoke(app, ["pipeline", "schedule", "--project", str(write_small_project(tmp_path))]).output
    assert "triggers.schedule" in told


@pytest.mark.slow
def test_a_time_that_passed_while_nobody_looked_begins_a_run(tmp_path: Path):
    project = add(write_small_project(tmp_path), 'schedule = "0 3 * * 1"')
    loaded = load_project(project)
    loaded.state.mkdir(parents=True, exist_ok=True)
    (loaded.state / STATE_NAME).write_text('{"ran_utc_s": 1700000000.0}')
    command = [sys.executable, "-m", "trainer.cli", "pipeline", "schedule", "--serve", "--project", str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "the schedule 0 3 * * 1 said so" in lines[0]
    assert lines[1].startswith("promoted: ")
    (run,) = list_runs(loaded.state)
    assert run.head.trigger == "schedule"
