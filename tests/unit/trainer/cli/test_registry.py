import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from trainer.cli.application import app
from trainer.cli.page_environment import page_environment
from trainer.errors import GateRefusedError, MissingProgramError, RegistryError
from trainer.registry.registry import Registry
from trainer.registry.tracking import ensure_experiment, open_client


def registry(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(app, ["registry", *map(str, arguments)])


@pytest.fixture
def project(tmp_path: Path, new_store: NewStore) -> Path:
    """A project with two versions; the second is champion."""
    project = write_small_project(tmp_path)
    state = new_store(project / ".fieldloop")
    client = open_client(state)
    experiment = ensure_experiment(client, "quality", state)
    models = Registry(state, client)
    for quality in ("0.81", "0.92"):
        run_id = client.create_run(experiment).info.run_id
        folder = state / "pipeline" / run_id
        folder.mkdir(parents=True)
        tags = {"quality": quality, "gate": "passed", "trigger": "manual"}
        models.promote("quality", models.register("quality", run_id=run_id, folder=folder, tags=tags))
    return project


def test_versions_are_listed_with_aliases_and_verdict(project: Path) -> None:
    output = registry("list", "--project", project).output
    for text in ("quality/1", "previous", "quality/2", "champion", "0.92", "passed"):
        assert text in output
    facts = json.loads(registry("list", "--project", project, "--json").output)
    assert [(version["version"], version["aliases"]) for version in facts] == [(1, ["previous"]), (2, ["champion"])]


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ((), 2),
        (("champion",), 2),
        (("previous",), 1),
        (("1",), 1),
        (("quality",), 2),
        (("quality@previous",), 1),
        (("quality/1",), 1),
        (("quality@champion",), 2),
    ],
)
def test_a_version_is_shown_by_number_by_alias_and_by_default_the_champion(
    reference: tuple[str, ...], version: int, project: Path
) -> None:
    facts = json.loads(registry("show", *reference, "--project", project, "--json").output)
    assert facts["version"] == version
    text = registry("show", *reference, "--project", project).output
    assert facts["run_id"] in text
    assert facts["tags"]["quality"] in text


@pytest.mark.parametrize("reference", ["9", "nobody", "quality/9", "quality@nobody", "other", "quality:3"])
def test_a_version_that_is_not_there_is_named(reference: str, project: Path) -> None:
    result = registry("show", reference, "--project", project)
    assert result.exit_code == RegistryError.exit_code
    assert reference.split(":", maxsplit=1)[0] in result.stderr


def test_a_rollback_makes_the_previous_champion_the_champion_and_says_what_devices_do(project: Path) -> None:
    result = registry("rollback", "--project", project)
    assert result.exit_code == 0
    assert "version 1, until now 2" in result.output
    assert "no device has announced itself" in result.output
    assert "fieldloop rollout champion" in result.output
    assert json.loads(registry("show", "--project", project, "--json").output)["version"] == 1


def test_an_empty_registry_says_how_to_fill_it(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    assert "fieldloop pipeline run" in registry("list", "--project", project).output
    assert registry("rollback", "--project", project).exit_code == RegistryError.exit_code


def candidate(project: Path, gate: str) -> int:
    """Register a third version with a verdict of the gate."""
    state = project / ".fieldloop"
    client = open_client(state)
    run_id = client.create_run(ensure_experiment(client, "quality", state)).info.run_id
    return Registry(state, client).register("quality", run_id=run_id, folder=state, tags={"gate": gate})


def test_the_list_names_the_check_that_refused_and_its_version_tells_the_rest(project: Path) -> None:
    why = "refused: baseline: accuracy 0.5103 on 1789 rows, a constant answer has 0.8189: gain -0.3086"
    version = candidate(project, why)
    listed = registry("list", "--project", project).output.split()
    assert listed[listed.index("quality/3") :][-2:] == ["refused:", "baseline"]
    assert "accuracy" not in listed
    assert why in registry("show", version, "--project", project).output
    assert json.loads(registry("list", "--project", project, "--json").output)[-1]["tags"]["gate"] == why


def champion(project: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads(registry("show", "--project", project, "--json").output)
    return facts


def test_a_promotion_is_kept_with_its_gate_and_its_approver(project: Path) -> None:
    version = candidate(project, "passed")
    result = registry("promote", version, "--by", "Ada", "--project", project)
    assert result.exit_code == 0, result.output
    assert "champion of quality: version 3, until now version 2; gate: passed; by Ada." in result.output
    assert champion(project)["version"] == version
    last = json.loads(registry("history", "--project", project, "--json").output)[-1]
    assert (last["version"], last["before"], last["by"], last["gate"]) == (3, 2, "Ada", "passed")
    assert "Ada" in registry("history", "--project", project).output
    assert "already" in registry("promote", version, "--project", project).output


@pytest.mark.parametrize("stage", ["staging", "challenger", "champion"])
def test_what_the_gate_refused_is_promoted_only_with_a_reason_that_is_kept(stage: str, project: Path) -> None:
    version = candidate(project, "refused: baseline: gain -0.1")
    to = ("promote", version, "--to", stage, "--by", "Ada", "--project", project)
    refused = registry(*to)
    assert refused.exit_code == GateRefusedError.exit_code
    assert "refused: baseline: gain -0.1" in refused.stderr
    assert registry(*to, "--force").exit_code == registry(*to, "--reason", "x").exit_code == 2
    assert stage not in json.loads(registry("show", "3", "--project", project, "--json").output)["aliases"]
    assert registry(*to, "--force", "--reason", "the plant stands still").exit_code == 0
    last = json.loads(registry("history", "--project", project, "--json").output)[-1]
    assert (last["stage"], last["version"], last["reason"]) == (stage, 3, "the plant stands still")


def test_a_candidate_that_was_not_judged_is_not_promoted(project: Path) -> None:
    result = registry("promote", candidate(project, "pending"), "--by", "Ada", "--project", project)
    assert result.exit_code == GateRefusedError.exit_code
    assert "has not judged it yet" in result.stderr


def test_names_of_stages_are_the_projects_and_a_person_approves_where_it_says_so(project: Path) -> None:
    file = project / "fieldloop.toml"
    file.write_text(file.read_text() + '\n[registry]\nchampion = "live"\napproval = ["champion"]\n')
    version = candidate(project, "passed")
    unnamed = registry("promote", version, "--to", "live", "--project", project)
    assert unnamed.exit_code == 2
    assert "--by NAME" in unnamed.stderr
    assert registry("promote", version, "--to", "live", "--by", "Ada", "--project", project).exit_code == 0
    assert registry("promote", version, "--to", "nowhere", "--by", "Ada", "--project", project).exit_code == 5
    for word in ("live", "champion", "quality@live", "quality@champion", "quality"):
        facts = json.loads(registry("show", word, "--project", project, "--json").output)
        assert (facts["version"], facts["aliases"]) == (version, ["live"])


def ui(project: Path, cache: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.cli", "registry", "ui", "--project", str(project), *options]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )


def test_the_page_is_not_installed_unasked_where_nobody_can_be_asked(project: Path, tmp_path: Path) -> None:
    done = ui(project, tmp_path / "cache")
    assert done.returncode == MissingProgramError.exit_code
    assert "fieldloop registry ui --yes" in done.stderr
    assert "MB" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_the_page_of_a_project_without_runs_is_refused(tmp_path: Path) -> None:
    done = ui(write_small_project(tmp_path), tmp_path / "cache", "--yes")
    assert done.returncode == RegistryError.exit_code
    assert "fieldloop pipeline run" in done.stderr
    assert not (tmp_path / ".fieldloop").exists()


def test_a_page_that_does_not_start_is_told_with_its_last_words(project: Path, tmp_path: Path) -> None:
    environment = page_environment({"XDG_CACHE_HOME": str(tmp_path / "cache")}).folder
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text('#!/bin/sh\necho "no module named $2" >&2\nexit 3\n')
    python.chmod(0o755)
    (environment / "complete").touch()
    done = ui(project, tmp_path / "cache")
    assert done.returncode == RegistryError.exit_code
    assert "ended with code 3: no module named mlflow" in done.stderr


def test_a_page_that_cannot_be_installed_is_told_as_a_missing_program(tmp_path: Path) -> None:
    environment = page_environment({"XDG_CACHE_HOME": str(tmp_path)})
    assert environment.folder.parent == tmp_path / "fieldloop"
    with pytest.raises(MissingProgramError, match="false cannot make an environment"):
        environment.make(Path("/bin/false"))
