"""What an agent scored is stored once or still in its spool, whatever is taken from it."""

import random
import sqlite3
import subprocess
import sys
import threading

from broker.servers.local import start_local_broker
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.station import Station
from tests.integration.agent.test_updates import SLOWLY, start_with, started_with_one
from tests.small_disk import fill, small_disk
from tests.waiting import wait_until


def test_killed_at_any_moment_of_scoring_and_updating_every_row_is_counted_once(one_fleet: Fleet):
    n_rows, kills = 1500, 12
    rng = random.Random(20261124)
    bundles = [one_fleet.updates.publish(version) for version in (1, 2, 3)]
    station = one_fleet.station(n_rows=n_rows, source="rows_per_second = 150")
    start_with(one_fleet, station, bundles[0])
    for kill in range(kills):
        if kill % 4 == 1:
            # In the midst of fetching, proving, trying or committing it.
            one_fleet.order(station, bundles[kill // 4 % 3])
        wait_out(rng.uniform(0.0, 1.2))
        station.kill()
        station.start()
    last = bundles[1]
    one_fleet.order(station, last)
    wait_until(lambda: one_fleet.receiver.rows("one") >= n_rows, 60, "all rows are stored")
    windows = one_fleet.receiver.windows("one")
    rows = [row for w in windows for row in range(w.first_row, w.last_row + 1)]
    assert rows == list(range(n_rows))
    assert sum(w.rows_scored for w in windows) == n_rows
    wait_until(lambda: len(station.answered_rows()) == n_rows, 10, "every row has its answer")
    wait_until(lambda: (status := one_fleet.receiver.status("one")) and status.bundle == last, 30, "it runs the last")


def test_while_the_broker_is_gone_nothing_is_lost(one_fleet: Fleet):
    station = one_fleet.station(n_rows=400, source="rows_per_second = 150")
    start_with(one_fleet, station, one_fleet.updates.publish(1))
    wait_until(lambda: one_fleet.receiver.rows("one") >= 50, 20, "some rows are stored")
    port = one_fleet.broker.endpoint.port
    one_fleet.broker.stop()
    wait_until(lambda: station.status()["spool"]["telemetry"]["put"] == 40, 20, "all rows are in the spool")
    assert station.status()["spool"]["telemetry"]["waiting"] > 0
    again = start_local_broker(one_fleet.folder / "broker", port=port)
    try:
        wait_until(lambda: one_fleet.receiver.rows("one") == 400, 60, "all rows are stored")
        wait_until(lambda: station.status()["spool"]["telemetry"]["waiting"] == 0, 20, "all records are released")
        rows = [r for w in one_fleet.receiver.windows("one") for r in range(w.first_row, w.last_row + 1)]
        assert rows == list(range(400))
    finally:
        station.stop()
        again.stop()


def test_a_broker_s_acknowledgement_releases_nothing(one_fleet: Fleet):
    one_fleet.receiver.is_marking = False
    station = one_fleet.station(n_rows=100)
    start_with(one_fleet, station, one_fleet.updates.publish(1))
    wait_until(lambda: one_fleet.receiver.rows("one") == 100, 20, "all rows came")
    # Sent again, because nobody said that they are stored.
    wait_until(lambda: one_fleet.receiver.duplicates > 0, 20, "records come again")
    assert station.status()["spool"]["telemetry"]["waiting"] == 10
    one_fleet.receiver.is_marking = True
    wait_until(lambda: station.status()["spool"]["telemetry"]["waiting"] == 0, 20, "all records are released")


def test_a_polite_stop_puts_the_open_window_into_the_spool(one_fleet: Fleet):
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, one_fleet.updates.publish(1, window_rows=100_000))
    wait_out(0.5)
    assert station.stop() == 0
    report = station.status()
    assert report["running"] is False
    assert report["spool"]["telemetry"]["put"] == 1
    assert report["live"]["last_window"]["rows_scored"] > 20


def test_a_damaged_spool_is_told_and_a_new_one_made(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    station.kill()
    spool = station.folder / "state" / "spool.db"
    for suffix in ("-wal", "-shm"):
        (spool.parent / f"spool.db{suffix}").unlink(missing_ok=True)
    spool.write_bytes(b"no database at all" * 100)
    station.start()
    assert "the spool was damaged" in one_fleet.wait_for_event(station, "error")
    assert len({key.epoch for key in one_fleet.receiver.records}) == 2


def test_an_agent_starts_and_scores_on_a_full_disk_and_reports_when_there_is_room(one_fleet: Fleet):
    bundle = one_fleet.updates.publish(1)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    state = station.folder / "state"
    with small_disk(state, 4096):
        start_with(one_fleet, station, bundle)
        filler = state / "filler"
        # Politely, which leaves none of the spool's other files behind, and not; the later ones end on a full disk.
        for end in (station.stop, station.kill, station.stop, station.stop):
            end()
            filler = fill(state)
            station.start()
            wait_until_it_scores(station)
            assert station.is_running, station.log.read_text(encoding="utf-8")
        filler.unlink()
        scored = one_fleet.receiver.rows("one")
        wait_until(lambda: one_fleet.receiver.rows("one") > scored + 100, 30, "windows come again")
        assert station.stop() == 0
    rows = [r for w in one_fleet.receiver.windows("one") for r in range(w.first_row, w.last_row + 1)]
    assert rows == list(range(len(rows)))


def test_an_agent_that_ends_with_its_source_waits_until_its_records_are_stored(one_fleet: Fleet):
    station = one_fleet.station(n_rows=95, source='at_end = "stop"')
    one_fleet.order(station, one_fleet.updates.publish(1))
    station.start()
    assert station.process is not None
    assert station.process.wait(30) == 0
    assert one_fleet.receiver.rows("one") == 95
    report = station.status()
    assert {counts["waiting"] for counts in report["spool"].values()} == {0}


def test_a_source_that_lost_a_column_ends_the_agent_with_its_own_exit_code(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    assert station.stop() == 0
    station.rows.write_text("a,b\n1,2\n", encoding="utf-8")
    station.start()
    assert station.process is not None
    assert station.process.wait(20) == 4
    told = station.log.read_text(encoding="utf-8").splitlines()[-1]
    assert "rows.csv: no column 'c'" in told


def test_one_state_folder_has_one_agent(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    command = [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(station.settings)]
    second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20, cwd=station.folder)
    assert second.returncode == 7
    assert station.process is not None
    assert f"process id {station.process.pid} uses this state folder" in second.stderr
    assert station.is_running


def test_a_spool_that_cannot_be_written_does_not_stop_scoring_and_loses_nothing(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    before = len(station.answered_rows())
    # Another process holds the database's write lock: what a disk that hangs looks like.
    holder = sqlite3.connect(station.folder / "state" / "spool.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    scored = one_fleet.receiver.rows("one")
    wait_until(lambda: "recording has to wait" in station.log.read_text(), 30, "the spool refuses")
    wait_until(lambda: len(station.answered_rows()) > before + 100, 10, "answers go on")
    holder.execute("ROLLBACK")
    holder.close()
    wait_until(lambda: one_fleet.receiver.rows("one") > scored + 300, 20, "windows come again")
    rows = [r for w in one_fleet.receiver.windows("one") for r in range(w.first_row, w.last_row + 1)]
    assert rows == list(range(len(rows)))


def wait_until_it_scores(station: Station) -> None:
    before = len(station.answered_rows())
    wait_until(lambda: len(station.answered_rows()) > before + 100, 30, "it scores")


def wait_out(seconds: float) -> None:
    """Let time pass: what is tested here is that any moment will do."""
    threading.Event().wait(seconds)
