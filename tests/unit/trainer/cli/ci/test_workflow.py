import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import write_small_project
from trainer.cli.application import app
from trainer.cli.ci.workflow import PLACES, PROVIDERS, Provider, Wanted, workflow_text
from trainer.pipeline.runs import STEPS
from trainer.project.registry import RegistrySection

APPROVED = '\n[registry]\nstaging = "waiting"\nchampion = "live"\napproval = ["champion"]\n'


def text_of(provider: Provider, *view_files: str, folder: str = ".") -> str:
    stages = RegistrySection(staging="waiting", champion="live")
    return workflow_text(provider, Wanted(folder, "1.2.3", view_files, stages, "5 4 * * 2"))


def parsed(text: str) -> dict[str, Any]:
    # YAML 1.1 reads the word "on" as true.
    document: dict[str, Any] = yaml.safe_load(text.replace("\non:\n", '\n"on":\n'))
    return document


def init_ci(project: Path, provider: str, *more: str) -> Result:
    return CliRunner().invoke(app, ["init", "--ci", provider, "--project", str(project), *more])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_small_project(tmp_path)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + APPROVED)
    return folder


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_workflow_is_filled_in_names_every_step_and_no_host(provider: Provider) -> None:
    text = text_of(provider, "views.toml", "more views.toml")
    assert re.search(r"@[A-Z_]+@", text) is None
    assert "://" not in text
    for step in STEPS:
        assert step in text
    assert "fieldloop[all]==1.2.3" in text
    assert "promote waiting --to live" in text
    assert "5 4 * * 2" in text
    assert "fieldloop features register views.toml" in text
    assert "fieldloop features register 'more views.toml'" in text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_project_without_views_declares_none(provider: Provider) -> None:
    text = text_of(provider)
    assert "features register" not in text
    assert "features check" in text
    parsed(text)


def test_github_runs_by_change_and_clock_and_releases_only_by_hand() -> None:
    document = parsed(text_of("github", folder="models/pump"))
    assert set(document["on"]) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert document["on"]["schedule"] == [{"cron": "5 4 * * 2"}]
    assert document["jobs"]["release"]["if"] == "github.event_name == 'workflow_dispatch'"
    assert document["jobs"]["train"]["needs"] == "test"
    assert document["defaults"]["run"]["working-directory"] == "models/pump"
    assert document["permissions"] == {"contents": "read"}


def test_gitlab_releases_only_by_hand() -> None:
    document = parsed(text_of("gitlab", folder="models/pump"))
    assert document["stages"] == ["test", "train", "release"]
    assert [rule.get("when") for rule in document["release"]["rules"]] == ["manual"]
    assert document["default"]["before_script"][0] == 'cd "models/pump"'
    assert "cd" not in parsed(text_of("gitlab"))["default"]["before_script"][0].split()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_is_written_where_the_provider_looks_for_it_and_never_over_another(
    provider: Provider, project: Path
) -> None:
    (project / ".git").mkdir()
    assert init_ci(project, provider).exit_code == 0
    path = project / PLACES[provider]
    assert "promote waiting --to live" in path.read_text()
    path.write_text("mine")
    refused = init_ci(project, provider)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    assert init_ci(project, provider, "--force").exit_code == 0
    assert path.read_text() != "mine"


def test_a_project_in_a_folder_of_a_repository_is_found_from_its_root(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "models" / "pump"
    folder.mkdir(parents=True)
    write_small_project(folder)
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text() + APPROVED)
    assert init_ci(folder, "github").exit_code == 0
    document = parsed((tmp_path / PLACES["github"]).read_text())
    assert document["defaults"]["run"]["working-directory"] == "models/pump"


VIEWS = """\
[[entities]]
name = "machine"
key = "machine"

[[views]]
name = "hourly"
entities = ["machine"]
[views.source]
path = ["rows.csv"]
timestamp = "at"
[[views.features]]
name = "pressure"

[[views]]
name = "worn"
entities = ["machine"]
[views.source]
{source}
timestamp = "at"
[[views.features]]
name = "quality"
dtype = "text"
"""
BY_QUERY = 'query = "SELECT 1"\ndatabase_env = "PLANT_DATABASE"'


def of_views(project: Path, source: str) -> None:
    """Make it a project whose rows come from views."""
    file = project / "fieldloop.toml"
    of = 'view = "hourly"\nlabels = "worn"\nentity = "machine"'
    file.write_text(file.read_text().replace('path = ["rows.csv"]', of))
    (project / "views.toml").write_text(VIEWS.format(source=source))


def commands_of(document: dict[str, Any], job: str) -> str:
    lines = document[job]["script"] if job in document else [str(s.get("run")) for s in document["jobs"][job]["steps"]]
    return "\n".join(lines)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_project_of_views_is_tested_on_their_sources_in_a_store_of_the_test_alone(
    provider: Provider, project: Path
) -> None:
    of_views(project, BY_QUERY)
    assert init_ci(project, provider).exit_code == 0
    text = (project / PLACES[provider]).read_text()
    assert re.search(r"@[A-Z_]+@", text) is None
    document = parsed(text)
    tested = commands_of(document, "test")
    register = "fieldloop features register views.toml --store build/features"
    assert register in tested
    assert "--force --store build/features" in tested
    assert tested.index(register) < tested.index("fieldloop sample")
    trained = commands_of(document, "train")
    assert "fieldloop features register views.toml" in trained
    assert "--store" not in trained
    if provider == "github":
        secret = {"PLANT_DATABASE": "${{ secrets.PLANT_DATABASE }}"}
        assert document["jobs"]["test"]["env"] == secret
        assert secret.items() <= document["jobs"]["train"]["env"].items()
        assert "PLANT_DATABASE" not in str(document["jobs"]["release"])


@pytest.mark.parametrize("source", ['fleet = "labels"', 'path = ["rows.csv"]\npull = false'])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_project_of_rows_that_are_in_the_store_alone_is_tested_on_those(
    provider: Provider, source: str, project: Path
) -> None:
    of_views(project, source)
    assert init_ci(project, provider).exit_code == 0
    document = parsed((project / PLACES[provider]).read_text())
    tested = commands_of(document, "test")
    assert "--force --stored" in tested
    assert "features register" not in tested, "a change that is only tested changes no store of others"
    if provider == "github":
        store = "FIELDLOOP_STORES_FEATURES"
        assert document["jobs"]["test"]["env"] == {store: f"${{{{ secrets.{store} }}}}"}


def test_a_source_outside_of_the_repository_is_told_at_once(project: Path) -> None:
    of_views(project, 'path = ["/data/worn.csv"]')
    refused = init_ci(project, "github")
    assert refused.exit_code == 2
    assert "/data/worn.csv" in refused.stderr
    of_views(project, 'path = ["s3://plant/worn.csv"]')
    assert init_ci(project, "github").exit_code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(APPROVED, ""), 'approval = ["champion"]'),
        (lambda text: text.replace('path = ["rows.csv"]', 'path = ["/data/rows.csv"]'), "/data/rows.csv"),
    ],
)
def test_what_a_workflow_could_not_do_is_told_at_once(change: Any, words: str, project: Path) -> None:
    file = project / "fieldloop.toml"
    file.write_text(change(file.read_text()))
    refused = init_ci(project, "github")
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert not (project / ".github").exists()


def test_init_without_rows_and_without_ci_says_what_is_missing(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["init", "--project", str(tmp_path)])
    assert refused.exit_code == 2
    assert "DATA" in refused.stderr
    data = tmp_path / "rows.csv"
    data.write_text("a,b\n1,2\n")
    refused = CliRunner().invoke(app, ["init", str(data), "--project", str(tmp_path)])
    assert refused.exit_code == 2
    assert "--target" in refused.stderr
