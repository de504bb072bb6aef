"""People start, see and end a shadow by ``fieldloop shadow``: a real broker, a real agent, a real monitor."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agent.conftest import Fleet
from tests.integration.agent.test_shadow import at_work
from tests.waiting import wait_until
from trainer.project.loading import load_project
from trainer.registry.challenger import name_challenger
from trainer.registry.registry import Registry, open_registry
from trainer.registry.tracking import ensure_experiment, open_client

COMMAND = [sys.executable, "-m", "trainer.cli"]
PROJECT = """
name = "toy"
fleet = "test"
features = [{ name = "a" }]
[data]
path = ["rows.csv"]
[target]
column = "y"
task = "classification"
"""


@pytest.fixture
def project(one_fleet: Fleet, tmp_path: Path) -> Path:
    """A project whose update repository is the one that the agents know."""
    folder = tmp_path / "project"
    (folder / ".fieldloop").mkdir(parents=True)
    (folder / ".fieldloop" / "repository").symlink_to(one_fleet.updates.folder)
    (folder / ".fieldloop" / "keys").symlink_to(one_fleet.updates.keys)
    (folder / "fieldloop.toml").write_text(PROJECT, encoding="utf-8")
    return folder


@pytest.fixture
def _monitor(one_fleet: Fleet, project: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [*COMMAND, "monitor", "--project", str(project), "--broker", str(one_fleet.broker.endpoint)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "monitoring fleet" in process.stdout.readline()
    yield
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


def shadow(project: Path, fleet: Fleet, *arguments: str, code: int = 0) -> str:
    broker = [] if arguments[0] == "show" else ["--broker", str(fleet.broker.endpoint)]
    done = subprocess.run(
        [*COMMAND, "shadow", *arguments, "--project", str(project), *broker],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def registry_of_two(project: Path) -> Registry:
    """Register two versions, which their gate passed."""
    loaded = load_project(project)
    client = open_client(loaded.state)
    registry = open_registry(loaded, client)
    for _ in range(2):
        run_id = client.create_run(ensure_experiment(client, "toy", loaded.state)).info.run_id
        registry.register("toy", run_id=run_id, folder=loaded.state, tags={"gate": "passed"})
    registry.promote("toy", 1)
    return registry


@pytest.mark.slow
@pytest.mark.usefixtures("_monitor")
def test_a_shadow_is_started_seen_and_ended_by_command(one_fleet: Fleet, project: Path):
    station, first, second = at_work(one_fleet)
    registry = registry_of_two(project)
    told = shadow(project, one_fleet, "start", station.name, "2")
    assert "takes toy/2 into the shadow" in told
    assert "toy/2 is the challenger now" in told

    def seen() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(shadow(project, one_fleet, "show", station.name, "--json"))
        return found

    wait_until(lambda: any(isinstance(row["rows"], int) and row["rows"] > 200 for row in seen()), 40, "rows compared")
    (row,) = seen()
    assert (row["device"], row["shadow"], row["against"]) == (station.name, str(second), str(first))
    assert isinstance(row["share"], float)
    assert 0 < row["share"] < 0.25
    assert "toy/2" in shadow(project, one_fleet, "show")
    assert "shadow     toy/2" in station.status_text()
    assert station.status()["shadow"]["bundle"] == str(second)
    told = shadow(project, one_fleet, "end", station.name)
    assert "has ended its shadow" in told
    assert "toy/2 is the challenger no more" in told
    assert registry.load("toy", version=2).aliases == ()
    wait_until(lambda: station.status()["shadow"] is None, 10, "no shadow is named any more")
    # One that ends by itself: the monitor hears of it.
    assert "is the challenger now" in shadow(project, one_fleet, "start", station.name, "2", "--rows", "50")
    wait_until(lambda: registry.load("toy", version=2).aliases == (), 60, "the end is told to the registry")
    # One of which no monitor has heard.
    name_challenger(registry, "toy", 2, by="Ada", device=station.name)
    assert registry.load("toy", version=2).aliases == ("challenger",)
    assert "there is no shadow" in shadow(project, one_fleet, "end", station.name, code=12)
    assert registry.load("toy", version=2).aliases == ()


def test_a_bundle_that_scores_already_is_refused_in_the_device_s_own_words(one_fleet: Fleet, project: Path):
    station, _, _ = at_work(one_fleet)
    assert "another bundle" in shadow(project, one_fleet, "start", station.name, "1", code=12)


def test_a_device_that_is_away_is_told_after_the_wait(one_fleet: Fleet, project: Path):
    told = shadow(project, one_fleet, "end", "away", "--timeout-s", "1", code=11)
    assert "away of fleet test did not reply within 1 s" in told


def test_a_bundle_that_is_not_published_is_refused_before_anybody_is_asked(one_fleet: Fleet, project: Path):
    one_fleet.updates.publish(1)
    assert "toy/7 is not published" in shadow(project, one_fleet, "start", "one", "7", code=5)


def test_without_a_report_the_list_says_so(one_fleet: Fleet, project: Path):
    assert json.loads(shadow(project, one_fleet, "show", "--json")) == []
    assert "no shadow was reported" in shadow(project, one_fleet, "show")


def test_a_name_that_is_no_device_is_refused(one_fleet: Fleet, project: Path):
    assert "a/b" in shadow(project, one_fleet, "end", "a/b", code=2)
