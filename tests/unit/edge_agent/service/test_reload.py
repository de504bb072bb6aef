"""Which settings can change while the agent runs."""

from pathlib import Path

import pytest

from edge_agent.service.reload import Change, change_between
from tests.unit.edge_agent.test_settings import GOOD, load


@pytest.mark.parametrize(
    ("added", "key"),
    [
        ("[broker]\nport = 1884\n", "broker.port"),
        ("[telemetry]\nmax_window_s = 60.0\n", "telemetry.max_window_s"),
        ('[sink]\nkind = "none"\npath = "answers.jsonl"\n', "sink.path"),
        ('[scoring]\nprefer = ["native"]\n', "scoring.prefer"),
    ],
)
def test_what_does_not_touch_the_source_can_change(tmp_path: Path, added: str, key: str):
    assert change_between(load(tmp_path, GOOD), load(tmp_path, GOOD + added)) == Change((key,), ())


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("station-1", "station-2", "device"),
        ("weather", "climate", "fleet"),
        ("rows.csv", "other.csv", "source.path"),
        ("[repository]", 'state = "elsewhere"\n[repository]', "state"),
    ],
)
def test_who_the_agent_is_and_where_its_rows_come_from_takes_a_restart(tmp_path: Path, old: str, new: str, key: str):
    assert change_between(load(tmp_path, GOOD), load(tmp_path, GOOD.replace(old, new))) == Change((), (key,))


def test_several_changes_are_all_named_and_none_is_none(tmp_path: Path):
    settings = load(tmp_path, GOOD)
    changed = load(tmp_path, GOOD.replace("rain", "snow").replace("8080", "8081").replace("station-1", "s"))
    assert change_between(settings, changed) == Change(("repository.model", "repository.url"), ("device",))
    assert change_between(settings, settings) == Change((), ())
