"""A run reads what the sources of its views hold when it begins, and keeps to that when it is taken up."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from typer.testing import CliRunner

from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.features.view_project import (
    FROM_VIEW,
    HOURLY,
    PUMPS,
    TRUTHS,
    hour,
    store_of,
    table,
    write_view_project,
)
from trainer.cli.application import app
from trainer.errors import DataError
from trainer.features.sources.reading import Access
from trainer.features.view_rows import pull_project_views, view_fingerprints
from trainer.features.views.view import FeatureView, Source, ViewFeature
from trainer.pipeline.opening import Beginning
from trainer.pipeline.production import run_production, run_step
from trainer.pipeline.runs import RESULT_NAME, STEPS, list_runs, load_run, run_folder
from trainer.project.project import LoadedProject
from trainer.registry.tracking import open_client

HOURS = 150


@pytest.fixture
def project(new_store: NewStore, tmp_path: Path) -> LoadedProject:
    loaded = write_view_project(tmp_path / "project", FROM_VIEW)
    new_store(loaded.state)
    for view in (HOURLY, TRUTHS):
        declare(loaded, view)
    measure(loaded, range(HOURS))
    return loaded


def declare(loaded: LoadedProject, view: FeatureView) -> None:
    """Give a view files of its own as its source."""
    source = Source(path=(str(loaded.folder / f"{view.name}-*.csv"),), timestamp="at", known="known")
    store_of(loaded).catalogue.register(msgspec.structs.replace(view, source=source))


def measure(loaded: LoadedProject, hours: range) -> None:
    """Write what was measured in some hours, and what became of it, where the sources of the views look."""
    rng = np.random.default_rng(hours.start)
    drawn = [(pump, number, *rng.normal(size=2)) for number in hours for pump in PUMPS]
    pumps = [pump for pump, *_ in drawn]
    for view, after, columns in (
        ("hourly", 0.0, {"pressure": [row[2] for row in drawn], "vibration": [row[3] for row in drawn]}),
        ("truths", 0.5, {"quality": ["good" if row[2] + row[3] > 0 else "scrap" for row in drawn]}),
    ):
        at = [hour(row[1] + after) for row in drawn]
        rows = pa.table({"pump_id": pumps, "at": at, "known": at, **columns})
        pyarrow.csv.write_csv(rows, loaded.folder / f"{view}-{hours.start:05}.csv")


def rows_of(loaded: LoadedProject, run_id: str) -> float:
    return load_run(loaded.state, run_id).steps[0].metrics["rows"]


def take_up(loaded: LoadedProject, run_id: str) -> list[str]:
    """Go on with a run as if it had been cut off in its last moment; return which steps were carried out."""
    (run_folder(loaded.state, run_id) / RESULT_NAME).unlink()
    return resumed(loaded, run_id)


def resumed(loaded: LoadedProject, run_id: str) -> list[str]:
    ran: list[str] = []
    run_production(
        loaded,
        trigger="",
        reason="",
        resume=run_id,
        progress=lambda event: ran.append(event.step) if event.phase == "started" else None,
    )
    return ran


def test_each_run_reads_the_newest_rows_of_the_sources(project: LoadedProject) -> None:
    first = run_production(project, trigger="manual", reason="a test")
    assert first.promoted, first.reason
    measure(project, range(HOURS, HOURS + 20))
    second = run_production(project, trigger="schedule", reason="Monday")
    assert [rows_of(project, run.run_id) for run in (first, second)] == [2 * HOURS, 2 * (HOURS + 20)]
    extract = load_run(project.state, second.run_id).steps[0]
    assert dict(extract.facts)["read from their sources"] == (
        "hourly: 40 rows, 40 of them new; truths: 40 rows, 40 of them new"
    )
    assert str(extract.params["views_through_push"]).startswith("hourly: ")


def test_a_run_that_is_taken_up_has_the_rows_that_it_began_with(project: LoadedProject) -> None:
    result = run_production(project, trigger="manual", reason="a test")
    measure(project, range(HOURS, HOURS + 20))
    store_of(project).push("places", table(pump_id=["p1"], at=[hour(0)], site=["south"]))
    assert take_up(project, result.run_id) == []
    # Somebody else brings the new rows into the store.
    assert [read.added for read in pull_project_views(project, Access({}))] == [40, 40]
    assert take_up(project, result.run_id) == []
    # A feature that is added is a new version of what is read: the wave ends where the same rows come out.
    declare(project, msgspec.structs.replace(HOURLY, features=(*HOURLY.features, ViewFeature(name="noise"))))
    assert take_up(project, result.run_id) == ["extract"]
    verdict = load_run(project.state, result.run_id).verdict_on("extract")
    assert verdict is not None
    assert verdict.why == "view hourly changed"
    assert rows_of(project, result.run_id) == 2 * HOURS


def unreachable(loaded: LoadedProject) -> None:
    for file in loaded.folder.glob("truths-*.csv"):
        file.unlink()


def rot(loaded: LoadedProject) -> None:
    (loaded.folder / "truths-99999.csv").write_text("pump_id,at,known,quality\np1,soon,later,good\n")


def all_recorded(loaded: LoadedProject) -> set[str]:
    """Return the runs in the metadata store, and their steps."""
    client = open_client(loaded.state, loaded.stores.metadata)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id for run in client.search_runs(experiments)}


@pytest.mark.parametrize("spoil", [unreachable, rot])
def test_a_run_that_cannot_read_a_source_says_so_and_changes_nothing(
    project: LoadedProject, spoil: Callable[[LoadedProject], None]
) -> None:
    first = run_production(project, trigger="manual", reason="a test")
    measure(project, range(HOURS, HOURS + 20))
    spoil(project)
    before, recorded = view_fingerprints(project), all_recorded(project)
    with pytest.raises(DataError, match="view 'truths': its source cannot be read, and nothing was changed"):
        run_production(project, trigger="manual", reason="in vain")
    assert [run.head.run_id for run in list_runs(project.state)] == [first.run_id]
    assert all_recorded(project) == recorded
    assert view_fingerprints(project) == before
    # Who wants to train on what is there says so.
    source = Source(path=("nowhere.csv",), timestamp="at", known="known", pull=False)
    store_of(project).catalogue.register(msgspec.structs.replace(TRUTHS, source=source))
    after = run_production(project, trigger="manual", reason="with what there is")
    assert rows_of(project, after.run_id) == 2 * HOURS


def test_a_run_that_broke_off_before_it_had_rows_reads_them_when_it_is_taken_up(project: LoadedProject) -> None:
    kept = project.folder / "kept"
    kept.mkdir()
    for file in project.folder.glob("truths-*.csv"):
        shutil.move(file, kept)
    (project.folder / "truths-0.csv").write_text("pump_id,at,known,quality\np1,2026-03-01T00:00Z,2026-03-01T00:00Z,\n")
    began: list[str] = []
    with pytest.raises(DataError, match="no label that is known yet"):
        run_production(project, trigger="manual", reason="too early", on_begin=began.append)
    for file in kept.glob("truths-*.csv"):
        shutil.move(file, project.folder)
    assert resumed(project, began[0]) == list(STEPS)
    assert rows_of(project, began[0]) == 2 * HOURS


def test_a_step_of_its_own_reads_the_sources_and_the_next_ones_do_not(project: LoadedProject) -> None:
    first = run_step(project, "extract", Beginning("manual", "a test"), executor="kfp")
    assert first.record.metrics["rows"] == 2 * HOURS
    unreachable(project)
    assert run_step(project, "validate", first.run_id, executor="kfp").ran
    assert not run_step(project, "extract", first.run_id, executor="kfp").ran


@pytest.mark.parametrize("command", [["experiment", "--trials", "1"], ["pipeline", "run"]])
def test_the_commands_read_the_sources(project: LoadedProject, command: Sequence[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--project", str(project.folder), "--json"])
    assert done.exit_code == 0, done.output
    assert len(store_of(project).rows.parts("hourly")) == 1
    unreachable(project)
    refused = CliRunner().invoke(app, [*command, "--project", str(project.folder), "--json"])
    assert refused.exit_code == DataError.exit_code
    assert "view 'truths': its source cannot be read" in refused.stderr
