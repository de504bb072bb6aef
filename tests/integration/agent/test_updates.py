"""An agent takes what is signed, listed, unaltered and proved here, and nothing else."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from broker.messages import BundleRef
from broker.topics import Channel
from edge_agent.bundle import TrialRules
from edge_agent.clock import SystemClock
from exporter.repository.lifetimes import Lifetimes
from exporter.repository.refresh import refresh_timestamp
from exporter.repository.repository import init_repository, publish_bundle, unlist_bundle
from tests.bundles import make_bundle
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.station import Station
from tests.waiting import wait_until

# Slow enough to be at work through a test, fast enough for a trial of 20 rows.
SLOWLY = "rows_per_second = 100"


def test_a_bundle_is_pulled_proved_tried_and_committed_and_every_row_is_counted_once(fleet: Fleet):
    first = fleet.updates.publish(1)
    station = fleet.station(n_rows=105, source="rows_per_second = 200")
    fleet.order(station, first)
    station.start()
    fleet.wait_committed(station, first)
    wait_until(lambda: fleet.receiver.rows("one") == 105, 20, "all rows are stored")
    assert fleet.receiver.kinds("one") == ["fetched", "staged", "activated", "committed"]
    windows = fleet.receiver.windows("one")
    assert [w.first_row for w in windows] == list(range(0, 105, 10))
    assert windows[-1].last_row == 104
    assert all(w.bundle == first and w.variant == "onnx-fp32" for w in windows)
    wait_until(lambda: len(station.answered_rows()) == 105, what="all answers are written")
    status = fleet.receiver.status("one")
    assert status is not None
    assert (status.online, status.bundle, status.update_state) == (True, first, "idle")
    assert station.stop() == 0
    wait_until(lambda: not is_online(fleet), what="the agent says goodbye")


def test_a_switch_drops_no_row_and_mixes_no_window(one_fleet: Fleet):
    first, second = one_fleet.updates.publish(1), one_fleet.updates.publish(2)
    station = one_fleet.station(n_rows=600, source="rows_per_second = 150")
    start_with(one_fleet, station, first)
    one_fleet.order(station, second)
    one_fleet.wait_committed(station, second)
    wait_until(lambda: one_fleet.receiver.rows("one") == 600, 20, "all rows are stored")
    windows = one_fleet.receiver.windows("one")
    assert {w.bundle for w in windows} == {first, second}
    rows = [row for w in windows for row in range(w.first_row, w.last_row + 1)]
    assert rows == list(range(600))
    assert sum(w.rows_scored for w in windows) == 600
    station.stop()
    assert {answer["bundle"] for answer in station.answered_rows().values()} == {"toy/1", "toy/2"}


def test_an_update_leaves_no_process_and_no_file_but_its_bundle(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    assert station.process is not None
    before = files_of(station)
    second = one_fleet.updates.publish(2)
    one_fleet.order(station, second)
    one_fleet.wait_committed(station, second)
    tasks = Path(f"/proc/{station.process.pid}/task")
    wait_until(lambda: not any(task.read_text() for task in tasks.glob("*/children")), 10, "its child is gone")
    new = files_of(station) - before
    assert {name for name in new if not name.startswith("slots/b/")} == set()
    assert {Path(name).name for name in new} == {"manifest.json", "model.onnx", "committed.json"}


def files_of(station: Station) -> set[str]:
    """Return the files in a station's state folder."""
    state = station.folder / "state"
    return {str(path.relative_to(state)) for path in state.rglob("*") if path.is_file()}


def test_without_a_bundle_the_source_is_not_read(one_fleet: Fleet):
    station = one_fleet.station(n_rows=50)
    station.start()
    wait_until(lambda: is_online(one_fleet), 10, "the agent is online")
    status = one_fleet.receiver.status("one")
    assert status is not None
    assert status.bundle is None
    first = one_fleet.updates.publish(1)
    one_fleet.order(station, first)
    wait_until(lambda: one_fleet.receiver.rows("one") == 50, 20, "the rows that waited are scored")
    assert one_fleet.receiver.windows("one")[0].first_row == 0


def test_a_bundle_altered_by_one_byte_is_refused_and_the_old_one_goes_on(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2)
    file = one_fleet.updates.file_of(second, "model.onnx")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert_refused(one_fleet, station, second, "altered")


def test_an_altered_manifest_is_refused(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2)
    file = one_fleet.updates.file_of(second, "manifest.json")
    file.write_bytes(file.read_bytes().replace(b'"low"', b'"wol"'))
    assert_refused(one_fleet, station, second, "altered")


def test_metadata_signed_by_another_key_is_refused(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    updates = one_fleet.updates
    forged, keys = updates.work / "forged", updates.work / "forged-keys"
    init_repository(forged, keys, clock=SystemClock())
    for version in (1, 2):
        publish_bundle(make_bundle(updates.work / f"f{version}", version=version), forged, keys, clock=SystemClock())
    ref = publish_bundle(make_bundle(updates.work / "f3", version=3), forged, keys, clock=SystemClock())
    shutil.copytree(forged, updates.folder, dirs_exist_ok=True)
    assert_refused(one_fleet, station, ref, "not signed by the keys")


def test_metadata_older_than_what_was_seen_is_refused(one_fleet: Fleet):
    updates = one_fleet.updates
    first = updates.publish(1)
    shutil.copytree(updates.folder / "metadata", updates.work / "old")
    second = updates.publish(2)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, second)
    shutil.copytree(updates.work / "old", updates.folder / "metadata", dirs_exist_ok=True)
    assert_refused(one_fleet, station, first, "older than what this device has seen")


def test_an_older_bundle_that_is_listed_and_ordered_is_accepted(one_fleet: Fleet):
    first, second = one_fleet.updates.publish(1), one_fleet.updates.publish(2)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, second)
    one_fleet.order(station, first)
    one_fleet.wait_committed(station, first)


def test_a_bundle_that_is_no_longer_listed_is_refused(one_fleet: Fleet):
    updates = one_fleet.updates
    first, second = updates.publish(1), updates.publish(2)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, second)
    unlist_bundle(first, updates.folder, updates.keys, clock=SystemClock())
    assert_refused(one_fleet, station, first, "not listed")


def test_a_bundle_that_is_listed_only_after_it_was_ordered_is_taken_in_the_end(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = BundleRef("toy", 2)
    assert_refused(one_fleet, station, second, "not listed")
    one_fleet.updates.publish(2)
    one_fleet.wait_committed(station, second)
    assert len(one_fleet.receiver.events("one", "refused")) == 1


def test_what_has_expired_is_told_once_and_taken_when_it_is_signed_anew(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    updates = one_fleet.updates
    bundle = make_bundle(updates.work / "v2", version=2)
    expired = Lifetimes(timestamp=timedelta(days=-1))
    second = publish_bundle(bundle, updates.folder, updates.keys, clock=SystemClock(), lifetimes=expired)
    one_fleet.order(station, second)
    assert "has expired" in one_fleet.wait_for_event(station, "error")
    assert_scores(one_fleet, BundleRef("toy", 1))
    refresh_timestamp(updates.folder, updates.keys, clock=SystemClock())
    one_fleet.wait_committed(station, second)
    assert len(one_fleet.receiver.events("one", "error")) == 1


def test_golden_rows_that_differ_are_refused(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2, golden_error=0.01)
    assert_refused(one_fleet, station, second, "golden rows differ on this device")


def test_an_order_for_another_model_is_refused(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    other = one_fleet.updates.publish(2, name="other")
    assert_refused(one_fleet, station, other, "takes bundles named 'toy'")


def test_a_bundle_whose_features_the_source_lacks_is_rolled_back(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2, features=("a", "b", "elsewhere"))
    one_fleet.order(station, second)
    assert "no column 'elsewhere'" in one_fleet.wait_for_event(station, "rolled_back")
    assert_scores(one_fleet, BundleRef("toy", 1))


def test_a_bundle_that_fails_its_trial_is_rolled_back_and_only_a_new_order_tries_it_again(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2, trial=TrialRules(rows=20, max_latency_us=0.001))
    order_id = one_fleet.order(station, second)
    assert "median latency" in one_fleet.wait_for_event(station, "rolled_back")
    assert_scores(one_fleet, BundleRef("toy", 1))
    # The order is retained: it comes again with every start.
    station.stop()
    station.start()
    assert_scores(one_fleet, BundleRef("toy", 1), more=100)
    assert len(one_fleet.receiver.events("one", "rolled_back")) == 1
    assert [r["order_id"] for r in station.status()["refused"]] == [order_id]
    one_fleet.order(station, second)
    one_fleet.wait_for_event(station, "rolled_back", n=2)


def test_a_bundle_in_whose_trial_the_agent_dies_again_and_again_is_rolled_back(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2, trial=TrialRules(rows=1_000_000, max_starts=2))
    one_fleet.order(station, second)
    one_fleet.wait_for_event(station, "activated", n=2)
    for _ in range(2):
        station.kill()
        station.start()
        assert_scores(one_fleet, second, more=20)
    assert one_fleet.receiver.events("one", "rolled_back") == []
    station.kill()
    station.start()
    assert "had to be started 3 times" in one_fleet.wait_for_event(station, "rolled_back")
    assert_scores(one_fleet, BundleRef("toy", 1))


def test_polite_stops_within_a_trial_are_not_taken_for_crashes(one_fleet: Fleet):
    station = started_with_one(one_fleet)
    second = one_fleet.updates.publish(2, trial=TrialRules(rows=1_000_000, max_starts=1))
    one_fleet.order(station, second)
    one_fleet.wait_for_event(station, "activated", n=2)
    for _ in range(4):
        assert_scores(one_fleet, second, more=10)
        assert station.stop() == 0
        station.start()
    assert_scores(one_fleet, second, more=10)
    assert one_fleet.receiver.events("one", "rolled_back") == []


def test_an_order_waits_for_a_repository_that_is_away(one_fleet: Fleet):
    first = one_fleet.updates.publish(1)
    station = one_fleet.station(n_rows=100)
    server = one_fleet.updates.server
    port = int(server.url.rpartition(":")[2])
    server.stop()
    one_fleet.order(station, first)
    station.start()
    assert "trying again later" in one_fleet.wait_for_event(station, "error")
    one_fleet.updates.serve(port)
    one_fleet.wait_committed(station, first)
    assert len(one_fleet.receiver.events("one", "error")) == 1


def test_a_damaged_active_slot_gives_way_to_the_previous_bundle(one_fleet: Fleet):
    first, second = one_fleet.updates.publish(1), one_fleet.updates.publish(2)
    station = one_fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(one_fleet, station, first)
    one_fleet.order(station, second)
    one_fleet.wait_committed(station, second)
    one_fleet.updates.server.stop()
    assert station.stop() == 0
    slot = station.status()["slot"]
    model = station.folder / "state" / "slots" / slot / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    station.start()
    assert f"slot {slot} cannot be opened" in one_fleet.wait_for_event(station, "error")
    assert_scores(one_fleet, first)


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 300, b'{"format": 2}'])
def test_a_lost_record_is_rebuilt_from_what_was_committed(one_fleet: Fleet, content: bytes):
    station = started_with_one(one_fleet)
    assert station.stop() == 0
    (station.folder / "state" / "update.json").write_bytes(content)
    station.start()
    assert "going on with toy/1" in one_fleet.wait_for_event(station, "error")
    assert_scores(one_fleet, BundleRef("toy", 1))


@pytest.mark.parametrize(("payload", "reason"), [(b"\x01nonsense", "malformed"), (b"\x02\x90", "version 2")])
def test_an_unreadable_order_is_told_and_scoring_goes_on(one_fleet: Fleet, payload: bytes, reason: str):
    station = started_with_one(one_fleet)
    one_fleet.receiver.publish_raw("one", Channel.DESIRED, payload)
    assert reason in one_fleet.wait_for_event(station, "error")
    assert_scores(one_fleet, BundleRef("toy", 1))


def is_online(fleet: Fleet) -> bool:
    status = fleet.receiver.status("one")
    return status is not None and status.online


def start_with(fleet: Fleet, station: Station, bundle: BundleRef) -> None:
    fleet.order(station, bundle)
    station.start()
    fleet.wait_committed(station, bundle)


def started_with_one(fleet: Fleet) -> Station:
    """Start a station that is at work with version 1 and has rows for the whole test."""
    station = fleet.station(n_rows=100_000, source=SLOWLY)
    start_with(fleet, station, fleet.updates.publish(1))
    return station


def assert_refused(fleet: Fleet, station: Station, bundle: BundleRef, reason: str) -> None:
    """Order a bundle; see that it is refused for this reason, and that the one before goes on scoring."""
    status = fleet.receiver.status(station.name)
    assert status is not None
    assert status.bundle is not None
    order_id = fleet.order(station, bundle)
    told = fleet.wait_for_event(station, "refused")
    assert reason in told
    event = fleet.receiver.events(station.name, "refused")[0]
    assert (event.bundle, event.order_id, event.severity) == (bundle, order_id, "error")
    assert_scores(fleet, status.bundle)


def assert_scores(fleet: Fleet, bundle: BundleRef, more: int = 30) -> None:
    """Wait until a bundle has scored so many more rows."""
    before = rows_by(fleet, bundle)
    wait_until(lambda: rows_by(fleet, bundle) >= before + more, 20, f"{more} more rows scored by {bundle}")


def rows_by(fleet: Fleet, bundle: BundleRef) -> int:
    return sum(w.rows_scored for w in fleet.receiver.windows("one") if w.bundle == bundle)
