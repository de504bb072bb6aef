"""The command ``fieldloop lineage`` on a project with two versions, and a feature in one of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from trainer.cli.application import app
from trainer.errors import RegistryError
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client


@pytest.fixture(scope="module")
def project(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = write_small_project(tmp_path_factory.mktemp("project"))
    state = new_store(project / ".fieldloop")
    client = open_client(state)
    experiment = ensure_experiment(client, "quality", state)
    registry = Registry(state, client)
    for names in (["pressure"], ["pressure", "vibration"]):
        run_id = client.create_run(experiment).info.run_id
        folder = state / "pipeline" / run_id
        (folder / "extract").mkdir(parents=True)
        table = {"names": names, "labels": ["good", "scrap"], "sha256": "x"}
        (folder / "extract" / "table.json").write_text(json.dumps(table))
        tags = {"gate": "passed", "data_sha256": "12" * 32, "trigger": "manual"}
        registry.promote("quality", registry.register("quality", run_id=run_id, folder=folder, tags=tags))
    return project


def lineage(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["lineage", *map(str, arguments)])


@pytest.mark.parametrize("word", ["champion", "2", "quality", "quality/2", "quality@champion", "model:quality/2"])
def test_a_model_is_named_as_everywhere(word: str, project: Path) -> None:
    facts = json.loads(lineage(word, "--project", project, "--json").output)
    assert facts["of"] == "model:quality/2"
    assert {"from": "feature:vibration", "to": f"data:{'12' * 32}"} in facts["edges"]


def test_a_feature_leads_to_the_models_that_use_it(project: Path) -> None:
    result = lineage("vibration", "--project", project)
    assert result.exit_code == 0, result.output
    assert "quality/2" in result.output


def test_a_run_is_found_by_how_it_begins(project: Path) -> None:
    run_id = Registry(project / ".fieldloop").load("quality", version=1).run_id
    assert json.loads(lineage(run_id[:10], "--project", project, "--json").output)["of"] == f"run:{run_id}"


@pytest.mark.parametrize("word", ["nobody", "9", "quality@nobody", "quality/9"])
def test_what_nobody_knows_is_refused(word: str, project: Path) -> None:
    assert lineage(word, "--project", project).exit_code == RegistryError.exit_code


@pytest.mark.parametrize(("name", "begins"), [("l.svg", "<svg"), ("l.mmd", "flowchart LR")])
def test_it_is_drawn_into_a_file(name: str, begins: str, project: Path, tmp_path: Path) -> None:
    assert lineage("champion", "--project", project, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / name).read_text().startswith(begins)
    assert lineage("champion", "--project", project, "--out", tmp_path / "l.pdf").exit_code == 2
