"""The commands of the feature store, as people type them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trainer.cli.application import app
from trainer.errors import DataError, ProjectError

VIEWS = """\
[[entities]]
name = "machine"
key = "machine_id"

[[views]]
name = "hourly"
entities = ["machine"]
ttl_s = 7200
owner = "plant"

[views.source]
path = ["hourly.csv"]
timestamp = "at"
known = "known"
zone = "Europe/Zurich"

[[views.features]]
name = "load"
unit = "kW"
range = [0, 50]
"""
ROWS = """\
machine_id,at,known,load
m1,2026-03-02 08:00,2026-03-02 08:05,11.5
m1,2026-03-02 09:00,2026-03-02 09:30,60
"""
ASKED = """\
machine_id,event_timestamp
m1,2026-03-02T07:10:00Z
m1,2026-03-02T08:29:00Z
m1,2026-03-02T08:30:00Z
m2,2026-03-02T08:30:00Z
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("FIELDLOOP_STORES_FEATURES", "FIELDLOOP_STORES_ONLINE"):
        monkeypatch.delenv(variable, raising=False)
    for name, text in (("views.toml", VIEWS), ("hourly.csv", ROWS), ("asked.csv", ASKED)):
        (tmp_path / name).write_text(text)
    return tmp_path


def features(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["features", *arguments])


def answer(*arguments: str) -> object:
    result = features(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_rows_go_in_by_a_view_and_come_out_as_of_a_time(folder: Path) -> None:
    assert answer("register", "views.toml") == [{"view": "hourly", "version": 1}]
    assert answer("push", "hourly") == {"given": 2, "added": 2}
    assert answer("push", "hourly") == {"given": 2, "added": 0}
    answer("extract", "asked.csv", "hourly", "-o", "out.csv")
    loads = [line.split(",")[2] for line in (folder / "out.csv").read_text().splitlines()[1:]]
    assert loads == ["11.5", "11.5", "60", ""]


def test_what_is_taken_out_is_what_the_source_holds_by_then(folder: Path) -> None:
    answer("register", "views.toml")
    for load in ("60", "61"):
        (folder / "hourly.csv").write_text(ROWS.replace(",60", f",{load}"))
        answer("extract", "asked.csv", "hourly", "-o", "out.csv")
        assert (folder / "out.csv").read_text().splitlines()[3].split(",")[2] == load
    (folder / "hourly.csv").unlink()
    refused = features("extract", "asked.csv", "hourly", "-o", "out.csv")
    assert refused.exit_code == DataError.exit_code
    assert features("latest", "hourly", "-o", "out.csv").exit_code == DataError.exit_code
    assert answer("extract", "asked.csv", "hourly", "-o", "out.csv", "--stored") is not None
    assert answer("latest", "hourly", "-o", "out.csv", "--stored") is not None


def test_a_changed_view_is_a_new_version_and_one_that_breaks_its_users_is_refused(folder: Path) -> None:
    answer("register", "views.toml")
    (folder / "views.toml").write_text(f'{VIEWS}\n[[views.features]]\nname = "parts"\ndtype = "int"\n')
    assert answer("register", "views.toml") == [{"view": "hourly", "version": 2}]
    (folder / "views.toml").write_text(VIEWS.replace('"kW"', '"W"'))
    refused = features("register", "views.toml")
    assert refused.exit_code == ProjectError.exit_code
    assert "'kW'" in refused.output
    assert "another name" in refused.output


def test_what_goes_online_is_what_the_source_holds_by_then(folder: Path) -> None:
    answer("register", "views.toml")
    assert answer("materialize", "--stored") == {"hourly": {"rows": 0, "resumed": False}}
    assert answer("materialize") == {"hourly": {"rows": 1, "resumed": False}}
    (folder / "hourly.csv").unlink()
    refused = features("materialize")
    assert refused.exit_code == DataError.exit_code
    assert "--stored" in refused.output
    assert answer("materialize", "--stored") == {"hourly": {"rows": 0, "resumed": False}}


def test_the_newest_rows_are_looked_up_online() -> None:
    answer("register", "views.toml")
    answer("push", "hourly")
    assert answer("materialize") == {"hourly": {"rows": 1, "resumed": False}}
    assert answer("materialize") == {"hourly": {"rows": 0, "resumed": False}}
    found = answer("get", "hourly", "m1")
    # Long ago, for a ttl of two hours.
    assert found == {"event_timestamp": "2026-03-02T08:00:00+00:00", "valid": False, "features": {"load": None}}
    nothing = features("get", "hourly", "m2")
    assert nothing.exit_code == DataError.exit_code


def test_the_statistics_count_what_is_out_of_range_and_how_fresh_it_is() -> None:
    answer("register", "views.toml")
    answer("push", "hourly")
    view = answer("stats")[0]  # type: ignore[index]
    load = view["features"][0]
    assert (load["rows"], load["out_of_range"], load["greatest"], load["fresh"]) == (2, 1, 60.0, 0.0)
    assert view["delay_s"] == (5 + 30) / 2 * 60
    assert features("stats").exit_code == 0


def test_a_store_by_its_address_is_shared_by_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer("register", "views.toml", "--store", "shared")
    monkeypatch.setenv("FIELDLOOP_STORES_FEATURES", str(folder / "shared"))
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    assert [view["view"] for view in answer("list")] == ["hourly"]  # type: ignore[attr-defined]
    assert answer("show", "hourly")["owner"] == "plant"  # type: ignore[index]


def test_a_view_that_is_not_there_is_told_with_the_nearest_one() -> None:
    answer("register", "views.toml")
    refused = features("show", "hourli")
    assert refused.exit_code == DataError.exit_code
    assert "did you mean 'hourly'?" in refused.output
