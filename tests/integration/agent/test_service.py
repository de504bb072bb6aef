"""The agent's process as a service manager sees it."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bundles import FEATURES
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.station import Station
from tests.integration.agent.test_updates import SLOWLY, start_with
from tests.service_manager import ListeningManager, abstract_name
from tests.waiting import wait_until


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListeningManager]:
    """A manager that every process of the test tells, and that watches it."""
    with ListeningManager(abstract_name()) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        yield manager


def test_the_manager_hears_of_start_life_and_end(one_fleet: Fleet, manager: ListeningManager):
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, one_fleet.updates.publish(1))
    assert manager.messages[0].keys() == {"READY", "STATUS"}
    beats = manager.times("WATCHDOG")
    wait_until(lambda: manager.times("WATCHDOG") > beats + 1, 20, "it beats on")
    assert re.fullmatch(r"toy/1 \(onnx-fp32\); update idle; \d+ rows; connected", manager.status)
    assert station.stop() == 0
    assert manager.times("STOPPING") == 1


def test_on_sighup_a_process_takes_another_broker_address_and_says_so(one_fleet: Fleet, manager: ListeningManager):
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, one_fleet.updates.publish(1))
    process = station.process
    assert process is not None
    port = station.endpoint.port
    change(station, f"port = {port}", "port = 1")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "no link to the broker" in manager.status, 20, "it looks for the broker elsewhere")
    change(station, "port = 1\n", f"port = {port}\n")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "; connected" in manager.status, 20, "it is connected again")
    stored = one_fleet.receiver.rows("one")
    wait_until(lambda: one_fleet.receiver.rows("one") > stored + 100, 20, "windows come again")
    assert station.process is process
    assert station.is_running
    assert manager.times("RELOADING") == 2
    assert station.stop() == 0
    rows = [row for w in one_fleet.receiver.windows("one") for row in range(w.first_row, w.last_row + 1)]
    assert rows == list(range(len(rows)))


def test_lines_on_standard_input_that_were_read_ahead_survive_a_reload(one_fleet: Fleet, manager: ListeningManager):
    station = one_fleet.station()
    station.write_settings()
    change(station, '"csv"', '"json_lines"')
    change(station, str(station.rows), "-")
    with station.log.open("ab") as log:
        process = station.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(station.settings)],
            stdin=subprocess.PIPE,
            stderr=log,
            cwd=station.folder,
        )
    assert process.stdin is not None
    bundle = one_fleet.updates.publish(1, window_rows=20)
    one_fleet.order(station, bundle)
    line = json.dumps(dict.fromkeys(FEATURES, 0.5)).encode() + b"\n"
    for reload in range(3):
        # It reads ahead, and is told to reload in the midst of what it has read.
        process.stdin.write(line * 500)
        process.stdin.flush()
        wait_for_answers(station, reload * 500 + 1)
        change(station, r"max_window_s = \d\.0\n|\Z", f"max_window_s = {reload + 1}.0\n")
        process.send_signal(signal.SIGHUP)
        wait_for_reload(manager, reload + 1)
    wait_for_answers(station, 3 * 500)
    assert sorted(answer["row"] for answer in station.answered_rows().values()) == list(range(3 * 500))
    assert station.stop() == 0


@pytest.mark.parametrize("load", ["rows_per_second = 400", ""])
def test_stopped_under_load_it_ends_at_once_with_all_it_answered_in_the_spool(one_fleet: Fleet, load: str):
    station = one_fleet.station(n_rows=200_000, source=load)
    station.telemetry = "resend_after_s = 1.0\nbackground_rows = 1\nmax_window_s = 0.3"
    start_with(one_fleet, station, one_fleet.updates.publish(1, window_rows=5000))
    wait_until(lambda: len(station.answered_rows()) > 500, 30, "it is at work")
    assert station.stop() == 0
    assert "did not finish in time" not in station.log.read_text(encoding="utf-8")
    assert station.status()["live"]["rows_scored"] == len(station.answered_rows())


def wait_for_answers(station: Station, n: int) -> None:
    """Wait until a station has answered at least n rows."""
    wait_until(lambda: len(station.answered_rows()) >= n, 30, f"{n} rows are answered; its log: {station.log}")


def wait_for_reload(manager: ListeningManager, n: int) -> None:
    """Wait until a process has begun its n-th reload."""
    wait_until(lambda: manager.times("RELOADING") >= n, 20, f"reload {n} begins")


def change(station: Station, pattern: str, text: str) -> None:
    """Edit the settings of a station that runs."""
    old = station.settings.read_text(encoding="utf-8")
    new = re.sub(pattern, text.replace("\\", r"\\"), old, count=1)
    assert new != old
    station.settings.write_text(new, encoding="utf-8")
