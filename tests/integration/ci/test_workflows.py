"""The workflows that ``fieldloop init --ci`` writes are carried out here, line by line, in a fresh project folder."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.conftest import REPOSITORY
from trainer.demo.data import DATA_SETS

N_ROWS: Final = 8000
VIEWS: Final = """\
[[entities]]
name = "station"
key = "station"

[[views]]
name = "daily"
entities = ["station"]
description = "what the station measures each day"

[views.source]
path = ["weather.csv"]
timestamp = "date"
zone = "UTC"

[[views.features]]
name = "{feature}"
range = [-8, 8]
"""


@dataclass(frozen=True)
class Done:
    """One command of a workflow, carried out."""

    job: str
    command: str
    code: int
    output: str


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The shipped weather data with dates, as a user's file; a view over them; nothing else."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    DATA_SETS["rainfall"].write(shipped, 1)
    with (shipped / "rainfall.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    folder = tmp_path / "weather"
    folder.mkdir()
    with (folder / "weather.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["station", "date", *header])
        first = date(1949, 1, 1)
        writer.writerows(["bellevue", first + timedelta(n), *row] for n, row in enumerate(rows[:N_ROWS]))
    (folder / "views.toml").write_text(VIEWS.format(feature=header[0]), encoding="utf-8")
    return folder


PROJECT_OF_VIEWS: Final = """\
name = "weather"

[data]
view = "daily"
labels = "truths"
entity = "station"

[target]
column = "rain"
task = "classification"

[training]
trials = 2
candidates = ["logistic", "forest"]

[registry]
approval = ["champion"]

{features}
"""
TRUTHS: Final = """
[[views]]
name = "truths"
entities = ["station"]

[views.source]
path = ["truths.csv"]
timestamp = "date"
zone = "UTC"

[[views.features]]
name = "rain"
dtype = "text"
"""


@pytest.fixture
def project_of_views(project: Path) -> Path:
    """The same rows as two views: what was measured, and whether it rained, each from a file of its own."""
    with (project / "weather.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    label = header.index("rain")
    with (project / "truths.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["station", "date", "rain"], *([row[0], row[1], row[label]] for row in rows)])
    names = [name for name in header[2:] if name != "rain"][:4]
    views = VIEWS.format(feature=names[0])
    views += "".join(f'\n[[views.features]]\nname = "{name}"\n' for name in names[1:])
    (project / "views.toml").write_text(views + TRUTHS, encoding="utf-8")
    features = "".join(f'[[features]]\nname = "{name}"\n\n' for name in names)
    (project / "fieldloop.toml").write_text(PROJECT_OF_VIEWS.format(features=features), encoding="utf-8")
    return project


def environment() -> dict[str, str]:
    """As a runner has it; the commands are this checkout's."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "PIP_NO_INDEX": "1",  # what is installed already suffices: nothing is fetched by a test
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_SHA": "0123abc",
        "GITHUB_ACTOR": "ada",
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_SHA": "0123abc",
        "GITLAB_USER_LOGIN": "ada",
    }


def jobs_of(provider: str, document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the commands of each job, in the order of the jobs."""
    if provider == "github":
        return {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in document["jobs"].items()}
    before = document["default"]["before_script"]
    return {name: [*before, *document[name]["script"]] for name in document["stages"]}


def carry_out(folder: Path, jobs: dict[str, list[str]]) -> list[Done]:
    """Carry out every command until one fails, each job in a shell of its own as both providers start it."""
    done: list[Done] = []
    for job, commands in jobs.items():
        for command in commands:
            ran = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            done.append(Done(job, command, ran.returncode, ran.stdout))
            if ran.returncode != 0:
                return done
    return done


def fieldloop(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "trainer.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(provider: str, folder: Path) -> dict[str, Any]:
    """Let ``fieldloop init`` write project and workflow; read the workflow."""
    fieldloop(folder, "init", "weather.csv", "--target", "rain", "--ci", provider)
    file = folder / "fieldloop.toml"
    # Twelve trials would only take longer.
    text = file.read_text(encoding="utf-8")
    assert "#trials = 12" in text
    file.write_text(text.replace("#trials = 12", "trials = 2"), encoding="utf-8")
    return workflow_of(provider, folder)


def workflow_of(provider: str, folder: Path) -> dict[str, Any]:
    place = {"github": ".github/workflows/fieldloop.yml", "gitlab": ".gitlab-ci.yml"}[provider]
    document: dict[str, Any] = yaml.safe_load((folder / place).read_text(encoding="utf-8"))
    return document


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_every_line_of_the_workflow_succeeds_in_a_fresh_project(provider: str, project: Path) -> None:
    jobs = jobs_of(provider, written(provider, project))
    assert list(jobs) == ["test", "train", "release"]
    done = carry_out(project, jobs)
    assert [each for each in done if each.code] == []
    assert len(done) == sum(map(len, jobs.values()))
    said = "\n".join(each.output for each in done)
    assert "view daily: 200 rows are as declared, and known in time" in said
    assert (project / "build" / "sample" / "experiment" / "report.html").is_file()
    assert "waits for approval" in next(each.output for each in done if "pipeline run" in each.command)
    assert "by ada" in next(each.output for each in done if "registry promote" in each.command)
    # Stage by stage, and only in the project's own registry: the copy of the test has one of its own.
    history = fieldloop(project, "registry", "history", "--json")
    assert '"stage": "staging"' in history
    assert '"stage": "champion"' in history
    assert '"by": "ada"' in history
    assert "weather-sample" not in fieldloop(project, "registry", "list")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_every_line_succeeds_where_the_rows_come_from_views(provider: str, project_of_views: Path) -> None:
    fieldloop(project_of_views, "init", "--ci", provider)
    jobs = jobs_of(provider, workflow_of(provider, project_of_views))
    tested = carry_out(project_of_views, {"test": jobs["test"]})
    assert [each for each in tested if each.code] == []
    assert "project weather: 4 features in 8000 rows are as declared" in "\n".join(each.output for each in tested)
    # The test has a store of its own.
    assert not (project_of_views / ".fieldloop").exists()
    done = carry_out(project_of_views, {name: jobs[name] for name in ("train", "release")})
    assert [each for each in done if each.code] == []
    assert "waits for approval" in next(each.output for each in done if "pipeline run" in each.command)
    assert '"stage": "champion"' in fieldloop(project_of_views, "registry", "history", "--json")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("views.toml", "range = [-8, 8]", 'dtype = "bool"', "view"),
        ("views.toml", 'timestamp = "date"', 'timestamp = "day"', "day"),
        ("fieldloop.toml", 'dtype = "float32"', 'dtype = "flaot32"', "flaot32"),
    ],
)
def test_a_broken_definition_of_a_feature_fails_the_workflow(
    file: str, before: str, after: str, words: str, project: Path
) -> None:
    jobs = jobs_of("github", written("github", project))
    path = project / file
    text = path.read_text(encoding="utf-8")
    if before not in text:  # the default is not written by `fieldloop init`
        before, after = '[[features]]\nname = "', f'[[features]]\n{after}\nname = "'
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    last = carry_out(project, {"test": jobs["test"]})[-1]
    assert last.code != 0
    assert "features check" in last.command
    assert words in last.output
