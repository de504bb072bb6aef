"""A project that reads views of the feature store: by hand, by the pipeline, by continuous training, and back again."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.trainer.conftest import NewStore
from tests.unit.trainer.features.view_project import FROM_VIEW, push_hours, write_view_project
from tests.waiting import wait_until
from trainer.cli.application import app
from trainer.continuous.runner import RunOutcome, RunRequest, SubprocessRunner
from trainer.pipeline.production import run_production
from trainer.pipeline.runs import load_run
from trainer.project.project import LoadedProject

HOURS = 150


@pytest.fixture
def project(new_store: NewStore, tmp_path: Path) -> LoadedProject:
    loaded = write_view_project(tmp_path, FROM_VIEW)
    new_store(loaded.state)
    push_hours(loaded, range(HOURS))
    return loaded


def test_rows_that_come_into_a_view_are_the_next_runs(project: LoadedProject) -> None:
    result = run_production(project, trigger="manual", reason="a test")
    assert result.promoted, result.reason
    assert load_run(project.state, result.run_id).steps[0].params["views"] == "hourly/1, truths/1"
    push_hours(project, range(HOURS, HOURS + 25))
    after = run_production(project, trigger="manual", reason="another")
    rows = [load_run(project.state, run.run_id).steps[0].metrics["rows"] for run in (result, after)]
    assert rows == [2 * HOURS, 2 * (HOURS + 25)]


def test_lineage_goes_from_a_feature_to_its_models_and_back_to_its_view(project: LoadedProject) -> None:
    result = run_production(project, trigger="manual", reason="a test")

    def lineage(word: str) -> tuple[str, set[str], set[tuple[str, str]]]:
        done = CliRunner().invoke(app, ["lineage", word, "--project", str(project.folder), "--json"])
        assert done.exit_code == 0, done.output
        told = json.loads(done.output)
        nodes = {f"{node['kind']}:{node['name']}" for node in told["nodes"]}
        return told["of"], nodes, {(edge["from"], edge["to"]) for edge in told["edges"]}

    for word in ("pressure", "hourly:pressure"):
        of, nodes, edges = lineage(word)
        assert of == "feature:pressure"
        assert {"view:hourly", f"run:{result.run_id}", "model:quality/1"} <= nodes
        assert "feature:vibration" not in nodes
        assert ("view:hourly", "feature:pressure") in edges
    _, nodes, edges = lineage("model:quality/1")
    assert {"view:hourly", "view:truths", "feature:pressure", "feature:vibration"} <= nodes
    data = next(name for name in nodes if name.startswith("data:"))
    assert ("view:truths", data) in edges
    assert lineage("truths")[0] == "view:truths"
    assert "model:quality/1" in lineage("truths")[1]


def test_continuous_training_takes_the_rows_that_came_since(project: LoadedProject, tmp_path: Path) -> None:
    first = run_production(project, trigger="manual", reason="a test")
    push_hours(project, range(HOURS, HOURS + 20))
    runner = SubprocessRunner(project.folder, tmp_path / "runs")
    request = RunRequest("token-1", "schedule", "Monday")
    outcome: list[RunOutcome] = []

    def has_ended() -> bool:
        found = runner.ensure(request)
        outcome.extend([] if found is None else [found])
        return found is not None

    wait_until(has_ended, 120)
    assert outcome[0].kind in {"promoted", "refused"}, outcome[0].reason
    rows = [load_run(project.state, run_id).steps[0].metrics["rows"] for run_id in (first.run_id, outcome[0].run_id)]
    assert rows == [2 * HOURS, 2 * (HOURS + 20)]


def test_an_experiment_reads_the_same_rows(project: LoadedProject) -> None:
    done = CliRunner().invoke(app, ["experiment", "--project", str(project.folder), "--trials", "1", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    analysis = json.loads(Path(told["analysis"]).read_text())
    assert analysis["data"]["rows"] == 2 * HOURS
    assert analysis["facts"]["where"] == "view truths"
