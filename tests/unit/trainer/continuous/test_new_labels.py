"""Labelled rows of views that came since the last run begin the next one, with a fleet and without."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.continuous.conftest import FakeRunner
from tests.unit.trainer.features.view_project import (
    FROM_FILE,
    FROM_VIEW,
    TRUTHS,
    hour,
    push_hours,
    store_of,
    table,
    write_labels,
    write_view_project,
)
from tests.unit.trainer.simulated_fleet import ManualClock
from trainer.continuous.new_labels import LOOK_S, NewLabels
from trainer.continuous.runner import RunOutcome
from trainer.continuous.schedule import Scheduler
from trainer.continuous.story import State
from trainer.errors import DataError
from trainer.features.sources.reading import Access
from trainer.features.views.view import Source
from trainer.pipeline.opening import Beginning
from trainer.pipeline.production import run_production, run_step
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject
from trainer.project.triggers import TriggersSection

HOURS = 60


def now() -> ManualClock:
    """A clock that is past all rows."""
    clock = ManualClock()
    clock.now_s = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    return clock


@pytest.fixture
def project(new_store: NewStore, tmp_path: Path) -> LoadedProject:
    loaded = write_view_project(tmp_path / "project", FROM_VIEW)
    new_store(loaded.state)
    push_hours(loaded, range(HOURS))
    return loaded


def count(loaded: LoadedProject, of_fleet: int = 0, access: Access | None = None) -> int | None:
    return NewLabels(loaded, access or Access({}), now()).count(of_fleet)


def learn(loaded: LoadedProject) -> None:
    """Have a run take its rows; what becomes of it does not matter."""
    run_step(loaded, "extract", Beginning("manual", "a test"), executor="test")


def push_labels(loaded: LoadedProject, *rows: tuple[float, str | None]) -> None:
    at = [hour(number) for number, _ in rows]
    truths = table(pump_id=["p1"] * len(rows), at=at, known=at, quality=[label for _, label in rows])
    store_of(loaded).push("truths", truths)


def test_labelled_events_that_the_last_run_did_not_have_are_new(project: LoadedProject) -> None:
    assert count(project) == 2 * HOURS, "nobody has learnt from any"
    learn(project)
    assert count(project) == 0
    # One came late, one is new, one has no label, one corrects a label, and one has happened in no time yet.
    push_labels(project, (3.25, "good"), (HOURS + 1, "scrap"), (HOURS + 2, None), (1e6, "good"))
    at = hour(0.5)
    store_of(project).push("truths", table(pump_id=["p1"], at=[at], known=[hour(70)], quality=["scrap"]))
    push_hours(project, range(HOURS, HOURS + 5), truths=False)
    assert count(project) == 2
    with pytest.raises(DataError, match="cut off"):
        run_production(project, trigger="manual", reason="broken off before it has rows", progress=cut_off)
    assert count(project) == 2
    learn(project)
    assert count(project) == 0


def cut_off(_event: object) -> None:
    raise DataError("cut off")


def test_rows_of_the_fleet_count_beside_them_unless_the_view_has_them(project: LoadedProject) -> None:
    learn(project)
    push_labels(project, (HOURS + 1, "scrap"))
    assert count(project, of_fleet=7) == 8
    sent = table(pump_id=["p2"], at=[hour(HOURS + 1)], known=[hour(HOURS + 1)], quality=["good"])
    source = Source(fleet="labels", timestamp="at", known="known")
    store_of(project).catalogue.register(msgspec.structs.replace(TRUTHS, source=source))
    assert count(project, of_fleet=7, access=Access({}, lambda *_: sent)) == 2


def test_the_source_of_the_labels_is_read_for_it_once_a_minute(project: LoadedProject) -> None:
    learn(project)
    file = project.folder / "truths.csv"
    source = Source(path=(str(file),), timestamp="at", known="known")
    store_of(project).catalogue.register(msgspec.structs.replace(TRUTHS, source=source))
    clock = now()
    labels = NewLabels(project, Access({}), clock)
    with pytest.raises(DataError, match="truths"):
        labels.count(0)
    file.write_text(f"pump_id,at,known,quality\np1,{hour(80)},{hour(80)},good\n")
    assert labels.count(0) is None
    clock.now_s += LOOK_S
    assert labels.count(0) == 1


def test_later_rows_of_a_file_of_labels_are_new(new_store: NewStore, tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path / "project", FROM_FILE)
    new_store(loaded.state)
    push_hours(loaded, range(HOURS), truths=False)
    rows = [("p1", number + 0.5, "good" if number % 2 else "scrap") for number in range(40)]
    write_labels(loaded, *rows)
    assert count(loaded) == 40
    learn(loaded)
    assert count(loaded) == 0
    write_labels(loaded, *rows, ("p1", 50.5, "good"), ("p2", 50.5, ""), ("p2", 51.5, "scrap"))
    assert count(loaded, of_fleet=3) == 5


def test_a_project_of_files_counts_its_fleet_alone(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, FROM_FILE.replace('view = ["hourly"]\n', ""))
    assert count(loaded, of_fleet=7) == 7


# --- what it begins ---------------------------------------------------------------------------------------------------


def test_enough_of_them_begin_a_run_beside_a_fleet_and_a_source_that_fails_is_told_once(make_stage) -> None:
    stage = make_stage(triggers=TriggersSection(new_labels=40))
    answers: list[int | DataError | None] = []

    def count_rows(_of_fleet: int) -> int | None:
        answer = answers.pop(0) if answers else None
        if isinstance(answer, DataError):
            raise answer
        return answer

    stage.count_rows = count_rows
    stage.loop = stage.make_loop()
    gone = DataError("no such file")
    answers += [gone, None, gone, 39, gone]
    stage.play(6)
    assert [alert.kind for alert in stage.alerts.sent] == ["source_failed"] * 2
    assert stage.loop.story.state is State.WATCHING
    answers += [40]
    stage.play(1)
    (request,) = stage.runner.requests
    assert request.trigger == "labels"
    assert "40 labelled rows" in request.reason


def test_enough_of_them_begin_a_run_without_a_monitor(project: LoadedProject) -> None:
    file = project.folder / "fieldloop.toml"
    file.write_text(file.read_text().replace("[target]", "[triggers]\nnew_labels = 10\n\n[target]"))
    loaded, clock, runner = load_project(project.folder), now(), FakeRunner()
    labels = NewLabels(loaded, Access({}), clock)
    scheduler = Scheduler(loaded, runner, clock, labels.count)
    scheduler.step()
    (request,) = runner.requests
    assert request.trigger == "labels"
    # It could not begin, so that all is still new; and then somebody could.
    runner.outcome = RunOutcome("broke_off", "no source")
    assert scheduler.step() == runner.outcome
    runner.outcome = None
    clock.now_s += 599
    scheduler.step()
    assert len(runner.requests) == 1
    clock.now_s += 60
    scheduler.step()
    assert len(runner.requests) == 2
    run_production(loaded, trigger="labels", reason="enough")
    runner.outcome = RunOutcome("refused", "no better", "r1", 2)
    scheduler.step()
    runner.outcome = None
    clock.now_s += 3600
    scheduler.step()
    push_labels(loaded, *((HOURS + number, "good") for number in range(9)))
    clock.now_s += 3600
    scheduler.step()
    assert len(runner.requests) == 2
    push_labels(loaded, (HOURS + 20, "good"))
    clock.now_s += 3600
    scheduler.step()
    assert len(runner.requests) == 3
