"""A bundle that is carried to a device in a file passes the checks of an update, whether the agent runs or not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.messages import BundleRef
from edge_agent.clock import SystemClock
from edge_agent.mailbox import inbox_of
from exporter.errors import RepositoryError
from exporter.repository.carrying import export_update
from exporter.repository.repository import unlist_bundle
from tests.integration.agent.conftest import Fleet, UpdateRepository
from tests.integration.agent.station import Station
from tests.waiting import wait_until

CLOCK = SystemClock()
FIRST, SECOND, THIRD = (BundleRef("toy", version) for version in (1, 2, 3))


def carry(updates: UpdateRepository, ref: BundleRef) -> Path:
    """Write an update file."""
    return export_update(updates.folder, ref, updates.work / f"{ref.version}.update").path


def command(station: Station, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command of the agent at the device; return its exit code, its JSON, and what it said to people."""
    station.write_settings()
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "edge_agent", *arguments, "--json", "--settings", str(station.settings)],
        capture_output=True,
        check=False,
        cwd=station.folder,
        text=True,
    )
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {}, ran.stderr


def wait_scoring(station: Station, ref: BundleRef, state: str = "idle") -> None:
    def is_so() -> bool:
        status = station.status()
        return (status["bundle"], status["update_state"]) == (str(ref), state)

    wait_until(is_so, 30, f"{station.name} scores with {ref}; its log: {station.log}")


def test_a_device_that_no_network_reaches_gets_its_bundle_from_a_file(one_fleet: Fleet):
    updates, station = one_fleet.updates, one_fleet.station(n_rows=200, source="rows_per_second = 100.0")
    updates.publish(1)
    file = carry(updates, FIRST)
    updates.server.stop()
    code, installed, told = command(station, "install", str(file))
    assert (code, installed["outcome"], installed["bundle"]) == (0, "staged", "toy/1"), told
    assert station.status()["update_state"] == "staged"
    assert "staged toy/1" in told
    # Given twice, it is no other order, and what was logged is not logged again.
    assert command(station, "install", str(file))[1] == installed
    assert station.status()["refused"] == []
    station.start()
    wait_scoring(station, FIRST)
    assert "staged toy/1" not in station.log.read_text()
    assert not list(inbox_of(station.folder / "state").iterdir())
    wait_until(lambda: one_fleet.receiver.events("one", "committed"), 10, "the commit is told")
    assert [event.kind for event in one_fleet.receiver.events("one")] == ["fetched", "staged", "activated", "committed"]


def test_an_agent_that_runs_installs_the_file_itself_and_a_retained_order_does_not_undo_it(one_fleet: Fleet):
    updates, station = one_fleet.updates, one_fleet.station(n_rows=4000, source="rows_per_second = 100.0")
    first, second = updates.publish(1), updates.publish(2)
    file = carry(updates, second)
    one_fleet.order(station, first)
    station.start()
    one_fleet.wait_committed(station, first)
    code, installed, told = command(station, "install", str(file))
    assert (code, installed["outcome"]) == (0, "on_trial"), told
    # The stick may be pulled now.
    file.unlink()
    one_fleet.wait_committed(station, second)
    station.stop()
    station.start()
    wait_until(lambda: station.status()["live"]["connected"], 10, "it is online again")
    wait_scoring(station, second)
    one_fleet.order(station, first)
    wait_scoring(station, first)


def test_what_is_not_signed_or_not_whole_is_refused_and_the_old_bundle_goes_on(one_fleet: Fleet):
    updates, station = one_fleet.updates, one_fleet.station(n_rows=200, source="rows_per_second = 100.0")
    updates.publish(1)
    updates.publish(2)
    assert command(station, "install", str(carry(updates, FIRST)))[0] == 0
    good = carry(updates, SECOND).read_bytes()
    model = good.rindex(b"toy/2/")  # its last entry's name in the directory; the content lies before it
    altered = updates.work / "altered.update"
    at = good.index(b"PK\x01\x02") - 100
    altered.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    station.start()
    wait_scoring(station, FIRST)
    assert model > at
    code, _, told = command(station, "install", str(altered))
    assert code == 3
    assert "altered or broken" in told
    cut = updates.work / "cut.update"
    cut.write_bytes(good[:-10])
    code, _, told = command(station, "install", str(cut))
    assert code == 3
    assert "fieldloop repository export" in told
    wait_scoring(station, FIRST)
    assert not list(inbox_of(station.folder / "state").iterdir())


def test_a_file_older_than_what_the_device_has_seen_is_refused(one_fleet: Fleet):
    updates, station = one_fleet.updates, one_fleet.station(n_rows=200)
    updates.publish(1)
    old = carry(updates, FIRST)
    updates.publish(2)
    assert command(station, "install", str(carry(updates, SECOND)))[0] == 0
    code, _, told = command(station, "install", str(old))
    assert code == 3
    assert "older than what this device has seen" in told
    # There is one free slot: what was to be tried gave way.
    assert station.status()["update_state"] == "idle"


def test_a_bundle_that_was_withdrawn_is_not_even_written_to_a_file(one_fleet: Fleet):
    updates = one_fleet.updates
    updates.publish(1)
    unlist_bundle(FIRST, updates.folder, updates.keys, clock=CLOCK)
    with pytest.raises(RepositoryError, match="is not listed"):
        carry(updates, FIRST)


def test_a_person_goes_back_while_the_agent_runs_and_while_it_does_not(one_fleet: Fleet):
    updates, station = one_fleet.updates, one_fleet.station(n_rows=4000, source="rows_per_second = 100.0")
    first, second = updates.publish(1), updates.publish(2)
    code, _, told = command(station, "rollback")
    assert code == 9
    assert "no previous bundle" in told
    one_fleet.order(station, first)
    station.start()
    one_fleet.wait_committed(station, first)
    one_fleet.order(station, second)
    one_fleet.wait_committed(station, second)
    code, done, told = command(station, "rollback", "--reason", "it smells")
    assert (code, done["bundle"]) == (0, "toy/1"), told
    wait_scoring(station, first)
    assert "it smells" in one_fleet.wait_for_event(station, "rolled_back")
    one_fleet.order(station, second)
    wait_scoring(station, second)
    station.stop()
    code, done, told = command(station, "rollback")
    assert (code, done["bundle"]) == (0, "toy/1"), told
    station.start()
    wait_scoring(station, first)
