import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.trainer.cli.projects import N_ROWS, write_small_project
from tests.unit.trainer.features.view_project import FROM_VIEW, push_hours, write_view_project
from trainer.cli.application import app

VIEWS = """\
[[entities]]
name = "machine"
key = "machine_id"

[[views]]
name = "hourly"
entities = ["machine"]

[views.source]
path = ["hourly.csv"]
timestamp = "measured"
zone = "UTC"

[[views.features]]
name = "load"
unit = "kW"
range = [0, 50]

[[views]]
name = "of_the_fleet"
entities = ["machine"]

[views.source]
fleet = "samples"
timestamp = "scored_at"

[[views.features]]
name = "confidence"
"""
ROWS = "machine_id,measured,load\nm1,2026-03-02 08:00,11.5\nm1,2026-03-02 09:00,60\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "views.toml").write_text(VIEWS)
    (tmp_path / "hourly.csv").write_text(ROWS)
    (tmp_path / "other.toml").write_text('title = "no views here"\n')
    return tmp_path


def features(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["features", *map(str, arguments)])


def test_views_and_the_projects_own_features_are_checked_and_nothing_is_stored(folder: Path) -> None:
    write_small_project(folder)
    done = features("check", "--project", folder)
    assert done.exit_code == 0, done.output
    assert "view hourly: 2 rows are as declared, and known in time" in done.output
    assert "values beyond their range: {'load': 1}" in done.output
    assert "view of_the_fleet: declared; no rows to try" in done.output
    assert f"project quality: 2 features in {N_ROWS} rows are as declared" in done.output
    assert features("list", "--project", folder, "--json").output.strip() == "[]"
    told = json.loads(features("check", "--project", folder, "--json").output)
    assert told[0] == {"view": "hourly", "file": str(folder / "views.toml"), "rows": 2, "beyond": {"load": 1}}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "load"', 'name = "laod"', "no column 'laod'"),
        ('unit = "kW"', 'dtype = "bool"', "load"),
        ('timestamp = "measured"', 'timestamp = "taken"', "no column 'taken'"),
        ('entities = ["machine"]', 'entities = ["pump"]', "no entity 'pump'"),
        ('unit = "kW"', 'unti = "kW"', "unti"),
    ],
)
def test_a_view_that_is_not_what_it_says_is_refused(before: str, after: str, words: str, folder: Path) -> None:
    (folder / "views.toml").write_text(VIEWS.replace(before, after, 1))
    refused = features("check", "--project", folder)
    assert refused.exit_code in {2, 3}
    assert words in refused.stderr


def test_a_change_that_would_break_who_uses_a_view_is_refused_before_it_is_registered(folder: Path) -> None:
    assert features("register", folder / "views.toml", "--project", folder).exit_code == 0
    (folder / "views.toml").write_text(VIEWS.replace('unit = "kW"', 'unit = "W"'))
    refused = features("check", "--project", folder)
    assert refused.exit_code == 2
    assert "was in 'kW', and would be in 'W'" in refused.stderr
    assert json.loads(features("show", "hourly", "--project", folder, "--json").output)["version"] == 1


def test_a_feature_of_the_project_that_its_rows_do_not_have_is_refused(folder: Path) -> None:
    file = write_small_project(folder) / "fieldloop.toml"
    file.write_text(file.read_text().replace('name = "pressure"', 'name = "presure"'))
    refused = features("check", "--project", folder)
    assert refused.exit_code == 3
    assert "presure" in refused.stderr


def test_where_nothing_is_declared_that_is_said(tmp_path: Path) -> None:
    done = features("check", "--project", tmp_path)
    assert (done.exit_code, "nothing is declared here" in done.output) == (0, True)


OF_VIEWS = """\
[[entities]]
name = "pump"
key = "pump_id"

[[views]]
name = "hourly"
entities = ["pump"]
[views.source]
path = ["hourly.csv"]
timestamp = "at"
[[views.features]]
name = "pressure"
unit = "bar"
[[views.features]]
name = "vibration"

[[views]]
name = "truths"
entities = ["pump"]
[views.source]
path = ["truths.csv"]
timestamp = "at"
[[views.features]]
name = "quality"
dtype = "text"
"""


def test_a_project_of_views_is_checked_on_the_sources_that_are_declared_beside_it(tmp_path: Path) -> None:
    loaded = write_view_project(tmp_path, FROM_VIEW)
    push_hours(loaded, range(5))
    stored = sorted(loaded.state.rglob("*"))
    (tmp_path / "views.toml").write_text(OF_VIEWS)
    at = "2026-03-02T08:00Z"
    (tmp_path / "hourly.csv").write_text(f"pump_id,at,pressure,vibration\np1,{at},1,2\np2,{at},1,2\np3,{at},1,\n")
    (tmp_path / "truths.csv").write_text("pump_id,at,quality\n" + "".join(f"p{n},{at},good\n" for n in (1, 2, 3)))
    done = features("check", "--project", tmp_path)
    assert done.exit_code == 0, done.output
    assert "project quality: 2 features in 2 rows are as declared" in done.output
    assert sorted(loaded.state.rglob("*")) == stored
    # One is only pushed: then the rows are those of the store.
    (tmp_path / "views.toml").write_text(OF_VIEWS.replace('["truths.csv"]', '["truths.csv"]\npull = false'))
    done = features("check", "--project", tmp_path)
    assert done.exit_code == 0, done.output
    assert "project quality: 2 features in 10 rows are as declared" in done.output
