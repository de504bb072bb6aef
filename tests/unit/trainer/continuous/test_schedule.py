"""A schedule that is kept without a monitor: each time one run, whatever happens to who keeps it."""

from pathlib import Path

import pytest

from edge_agent.bundle import Feature
from tests.unit.trainer.continuous.conftest import FakeRunner
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.continuous.runner import RunOutcome
from trainer.continuous.schedule import STATE_NAME, Scheduler
from trainer.errors import ProjectError
from trainer.project.learning import DataSection, TargetSection
from trainer.project.project import LoadedProject, Project
from trainer.project.triggers import TriggersSection


def project(folder: Path, schedule: str | None = "* * * * *") -> LoadedProject:
    return LoadedProject(
        Project(
            name="weather",
            data=DataSection(path=("rows.csv",)),
            features=(Feature("pressure"),),
            target=TargetSection(column="rain", task="classification"),
            triggers=TriggersSection(schedule=schedule),
        ),
        folder,
    )


def test_a_run_begins_with_each_time_and_never_before_the_last_has_ended(tmp_path):
    clock, runner = ManualClock(), FakeRunner()
    scheduler = Scheduler(project(tmp_path), runner, clock)
    assert scheduler.step() is None
    assert runner.requests == []
    clock.now_s += 61
    scheduler.step()
    clock.now_s += 600
    scheduler.step()
    (request,) = runner.requests
    assert request.trigger == "schedule"
    runner.outcome = RunOutcome("promoted", "better", "r1", 2, "/bundles/2")
    assert scheduler.step() == runner.outcome
    runner.outcome = None
    scheduler.step()
    assert len(runner.requests) == 2, "what came meanwhile is one run"
    scheduler.step()
    assert len(runner.requests) == 2


def test_one_that_is_killed_goes_on_with_the_same_run(tmp_path):
    clock, runner = ManualClock(), FakeRunner()
    Scheduler(project(tmp_path), runner, clock)
    clock.now_s += 61
    Scheduler(project(tmp_path), runner, clock).step()
    clock.now_s += 61
    again = Scheduler(project(tmp_path), runner, clock)
    again.step()
    assert len(runner.requests) == 1
    assert again.request == runner.requests[0]


def test_a_project_without_a_schedule_is_told_how_one_looks(tmp_path):
    with pytest.raises(ProjectError, match=r"triggers\.schedule"):
        Scheduler(project(tmp_path, None), FakeRunner(), ManualClock())


def test_a_file_that_cannot_be_read_is_named_with_what_to_do(tmp_path):
    loaded = project(tmp_path)
    loaded.state.mkdir(parents=True)
    (loaded.state / STATE_NAME).write_bytes(b"{")
    with pytest.raises(ProjectError, match=rf"{STATE_NAME}: cannot be read.*remove it"):
        Scheduler(loaded, FakeRunner(), ManualClock())
