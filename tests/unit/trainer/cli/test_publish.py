from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from exporter.errors import RepositoryError
from exporter.repository.repository import list_bundles
from tests.bundles import Toy, make_bundle
from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.errors import ProjectError, RegistryError
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client


def fieldloop(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose champion, version 1, has a bundle, and whose version 2 has none."""
    project = write_small_project(tmp_path)
    state = project / ".fieldloop"
    client = open_client(state)
    experiment = ensure_experiment(client, "quality", state)
    models = Registry(state, client)
    for version in (1, 2):
        run_id = client.create_run(experiment).info.run_id
        folder = state / "pipeline" / run_id
        folder.mkdir(parents=True)
        assert models.register("quality", run_id=run_id, folder=folder, tags={}) == version
        if version == 1:
            make_bundle(folder / "export" / "bundle", Toy(name="quality"))
            models.promote("quality", 1)
    return project


@pytest.mark.parametrize("version", [(), ("champion",), ("1",), ("quality/1",)])
def test_a_version_goes_into_the_projects_own_repository(version: tuple[str, ...], project: Path) -> None:
    first = fieldloop("publish", *version, "--project", project)
    assert first.exit_code == 0, first.output
    assert "root.json to each device" in first.output
    again = fieldloop("publish", *version, "--project", project)
    assert again.exit_code == 0, "the same bundle twice is once"
    assert "root.json" not in again.output
    assert [str(ref) for ref in list_bundles(project / ".fieldloop" / "repository")] == ["quality/1"]


def test_a_folder_goes_into_a_repository_that_is_named(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", Toy(name="tumour", version=4))
    place = ("--repository", tmp_path / "repository", "--keys", tmp_path / "keys")
    assert fieldloop("repository", "init", *place).exit_code == 0
    assert "published tumour/4" in fieldloop("publish", tmp_path / "bundle", *place).output


def test_a_repository_that_is_named_must_be_there(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", Toy())
    place = ("--repository", tmp_path / "repository", "--keys", tmp_path / "keys")
    result = fieldloop("publish", tmp_path / "bundle", *place)
    assert result.exit_code == RepositoryError.exit_code
    assert "fieldloop repository init" in result.stderr


def test_a_repository_without_its_keys_is_a_wrong_use(tmp_path: Path) -> None:
    assert fieldloop("publish", tmp_path, "--repository", tmp_path).exit_code == 2


def test_a_version_without_a_bundle_is_named(project: Path) -> None:
    result = fieldloop("publish", "2", "--project", project)
    assert result.exit_code == RegistryError.exit_code
    assert "quality/2 has no bundle" in result.stderr


def test_without_a_project_the_way_out_is_told(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", Toy())
    result = fieldloop("publish", tmp_path / "bundle", "--project", tmp_path)
    assert result.exit_code == ProjectError.exit_code
    assert "give --repository and --keys" in result.stderr
