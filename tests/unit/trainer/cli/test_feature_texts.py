"""What the commands of the feature store show people: each fact that is declared, and each figure that is counted."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from trainer.cli.application import app

VIEWS = """\
[[entities]]
name = "machine"
key = "machine_id"

[[views]]
name = "hourly"
entities = ["machine"]
owner = "plant"
description = "what a machine measures each hour"
{ttl}

[views.source]
path = ["hourly.csv"]
timestamp = "at"
known = "known"

[[views.features]]
name = "load"
unit = "kW"
range = [0, 50]
description = "mean electrical power"

[[views.features]]
name = "parts"
dtype = "int"
owner = "line 2"
"""
ROWS = """\
machine_id,at,known,load,parts
m1,2026-03-02T08:00Z,2026-03-02T08:05Z,11.5,4
m1,2026-03-02T09:00Z,2026-03-02T09:05Z,60,
m2,2026-03-02T09:00Z,2026-03-02T09:05Z,12.5,7
"""


@pytest.fixture(params=["", "ttl_s = 7200"], ids=["for ever", "two hours"])
def has_ttl(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether rows of long ago say nothing any more; in a folder with a view and its rows."""
    monkeypatch.chdir(tmp_path)
    for variable in ("FIELDLOOP_STORES_FEATURES", "FIELDLOOP_STORES_ONLINE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "views.toml").write_text(VIEWS.format(ttl=request.param))
    (tmp_path / "hourly.csv").write_text(ROWS)
    told("register", "views.toml")
    told("push", "hourly")
    return bool(request.param)


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["features", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def lines_of(text: str) -> dict[str, list[str]]:
    """The words of each line by the first of them."""
    return {words[0]: words[1:] for words in map(str.split, text.splitlines()) if words}


def test_a_view_is_shown_with_all_that_is_declared_of_it(has_ttl: bool) -> None:  # noqa: FBT001 - a fixture
    assert lines_of(told("list"))["hourly"][:3] == ["1", "machine_id", "2"]
    text = told("show", "hourly")
    shown = lines_of(text)
    assert shown["keys"] == ["machine_id", "(text)"]
    assert shown["valid"] == (["7200", "s"] if has_ttl else ["for", "ever"])
    assert shown["owner"] == ["plant"]
    assert "what a machine measures each hour" in text
    assert " ".join(shown["load"]) == "float kW 0 to 50 plant mean electrical power"
    assert " ".join(shown["parts"]) == "int line 2"


def test_statistics_and_freshness_of_each_feature_are_shown(has_ttl: bool) -> None:  # noqa: FBT001 - a fixture
    text = told("stats", "hourly")
    assert "3 rows of 2 entities, known 300 s after the event (median)" in text
    shown = lines_of(text)
    # Missing, distinct, least, mean, greatest, out of range, when the newest is from, the share that is fresh.
    fresh = ("0", "0") if has_ttl else ("1", "0.5")
    assert shown["load"] == ["0", "3", "11.5", "28", "60", "1", "2026-03-02", "09:00", fresh[0]]
    assert shown["parts"] == ["1", "2", "4", "5.5", "7", "–", "2026-03-02", "09:00", fresh[1]]


def test_the_latest_rows_that_are_valid_are_written(has_ttl: bool, tmp_path: Path) -> None:  # noqa: FBT001
    told("latest", "hourly", "-o", "now.parquet")
    rows = pq.read_table(tmp_path / "now.parquet").sort_by("machine_id").to_pylist()
    found = [(row["machine_id"], row["load"], row["parts"]) for row in rows]
    assert found == ([] if has_ttl else [("m1", 60.0, None), ("m2", 12.5, 7)])
