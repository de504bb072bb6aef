"""An updater from order to commit or roll-back, and through every cut in between."""

import io
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

from broker.messages import BundleRef, Desired
from edge_agent.bundle import TrialRules
from edge_agent.errors import AlteredError, BundleError, StorageError
from edge_agent.mailbox import copy_into_inbox, file_in_inbox
from edge_agent.update.record import SLOTS
from edge_agent.update.slots import COMMITTED_NAME, RECORD_NAME, begin_proving
from edge_agent.update.stage_messages import StageReport
from edge_agent.update.states import State
from edge_agent.update.updater import MAX_PROVING_STARTS
from tests.bundles import make_bundle
from tests.unit.edge_agent.update.exhaustion import no_files_left
from tests.unit.edge_agent.update.simulators import SETTINGS, Device, Disk, Engines, Stagings


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for version in (1, 2, 3, 4):
        make_bundle(folder / f"v{version}", version=version, trial=TrialRules(rows=20, max_starts=2))
    return folder


@pytest.fixture
def stagings(bundles: Path) -> Stagings:
    return Stagings(bundles)


@pytest.fixture
def device(tmp_path: Path, stagings: Stagings) -> Device:
    return Device(tmp_path / "state", stagings)


def test_an_order_ends_in_a_commit(device: Device):
    device.update(1, "one")
    assert device.scoring == 1
    assert device.updater.record.state is State.IDLE
    assert device.kinds == ["fetched", "staged", "activated", "committed"]
    assert {event.order_id for event in device.updater.events()} == {"one"}


def test_the_old_bundle_scores_until_the_scoring_thread_takes_the_new_one(device: Device):
    device.update(1, "one")
    device.seat.hesitates = True
    device.order(2, "two")
    device.poll(10)
    assert device.scoring == 1
    assert device.engines.n_open == 2
    device.seat.take()
    device.poll()
    assert device.scoring == 2
    assert device.engines.n_open == 1
    device.score()
    device.poll()
    assert device.kinds[-1] == "committed"


def test_what_scores_is_what_the_scoring_thread_has_taken_whatever_is_offered(device: Device):
    device.update(1, "one")
    device.seat.hesitates = True
    device.order(2, "two")
    device.poll(5)
    record, scoring = device.updater.record, device.updater.scoring
    assert (record.state, scoring) == (State.TRIAL, record.active)
    device.seat.take()
    assert device.updater.scoring == record.candidate


def test_before_the_first_row_what_is_to_score_it_is_named_and_nothing_where_there_is_nothing(device: Device):
    assert device.updater.scoring is None
    device.seat.hesitates = True
    device.order(1, "one")
    device.poll(3)
    assert device.seat.engine is None
    assert device.updater.scoring == device.updater.record.candidate


def test_events_wait_in_the_record_until_they_are_told(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    again = Device(tmp_path / "state", stagings)
    assert again.kinds == device.kinds
    again.updater.events_told(3)
    assert Device(tmp_path / "state", stagings).kinds == ["committed"]


def test_a_candidate_never_lies_in_the_active_or_previous_slot(device: Device):
    for version, order_id in ((1, "a"), (2, "b"), (3, "c"), (4, "d"), (1, "e"), (2, "f")):
        device.order(version, order_id)
        device.poll()
        roles = device.updater.record.roles
        assert roles.candidate not in {roles.active, roles.previous}
        device.poll(2)
        device.score()
        device.poll(2)
        assert device.scoring == version
    previous = device.updater.record.previous
    assert previous is not None
    assert previous.bundle.version == 1


def test_what_was_committed_may_be_the_base_of_what_is_fetched_and_nothing_else(device: Device, stagings: Stagings):
    for version, order_id in ((1, "one"), (2, "two"), (3, "three")):
        device.update(version, order_id)
    roles = device.updater.record.roles
    device.order(4, "four")
    device.poll()
    folders = [tuple(Path(base).name for base in order.bases) for order in stagings.orders]
    assert [len(bases) for bases in folders] == [0, 1, 2, 2]
    assert folders[-1] == (roles.active, roles.previous)
    assert Path(stagings.orders[-1].slot).name not in folders[-1]


def test_a_failed_trial_goes_back_and_its_order_is_not_tried_again(device: Device, stagings: Stagings):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    assert device.scoring == 2
    device.score(rows=3, errors=1)
    device.poll(2)
    assert device.scoring == 1
    assert device.kinds[-1] == "rolled_back"
    device.order(2, "two")
    device.poll(5)
    assert device.scoring == 1
    assert len(stagings.orders) == 2
    device.order(2, "three")
    device.poll(3)
    assert device.scoring == 2


def test_a_bundle_that_does_not_open_is_rolled_back(device: Device):
    device.update(1, "one")
    device.engines.broken = {2}
    device.order(2, "two")
    device.poll(5)
    assert device.scoring == 1
    assert "does not load" in device.updater.events()[-1].reason


def test_a_bundle_that_fails_its_trial_while_the_disk_is_full_stops_scoring_all_the_same(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.score(rows=3, errors=1)
    device.disk.is_full = True
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            device.poll()
        assert device.scoring == 1
    assert device.kinds[-1] == "rolled_back"
    device.disk.is_full = False
    device.poll()
    assert device.updater.record.state is State.IDLE
    assert device.engines.n_open == 1
    again = Device(tmp_path / "state", stagings)
    assert again.updater.record == device.updater.record
    assert again.kinds.count("rolled_back") == 1


def test_a_person_can_end_a_trial_while_the_disk_is_full(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.disk.is_full = True
    assert device.updater.roll_back("they say so").accepted
    assert device.scoring == 1


def test_events_that_were_told_are_not_told_again_because_the_disk_is_full(device: Device):
    device.update(1, "one")
    device.disk.is_full = True
    device.updater.events_told(len(device.updater.events()))
    assert device.updater.events() == ()


def test_a_bad_trial_ends_though_the_disk_was_full_before(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.disk.is_full = True
    device.updater.events_told(1)
    device.score(rows=3, errors=1)
    with pytest.raises(OSError, match="No space"):
        device.poll()
    assert device.scoring == 1


def test_a_full_disk_does_not_keep_an_agent_from_starting(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    again = Device(tmp_path / "state", stagings, disk=Disk(is_full=True))
    assert again.scoring == 1
    with pytest.raises(OSError, match="No space"):
        again.poll()
    again.disk.is_full = False
    again.order(2, "two")
    again.poll(3)
    assert again.scoring == 2


def test_a_start_that_cannot_be_counted_is_none_of_a_trial(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    again = Device(tmp_path / "state", stagings, disk=Disk(is_full=True))
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            again.poll()
        assert again.scoring == 1
    assert again.engines.tried == [1]
    again.disk.is_full = False
    again.poll(2)
    assert again.scoring == 2
    assert again.store.load().record.starts == 1
    again.score()
    again.poll()
    assert again.kinds[-1] == "committed"


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), RuntimeError("a surprise")])
def test_a_candidate_that_cannot_be_opened_for_whatever_reason_is_never_committed(device: Device, error: Exception):
    device.update(1, "one")
    device.engines.failing = {2: error}
    device.order(2, "two")
    device.poll(5)
    assert device.scoring == 1
    assert device.kinds[-1] == "rolled_back"
    assert (str(error) or "MemoryError") in device.updater.events()[-1].reason
    assert device.engines.tried == [1, 2]


def test_a_candidate_is_not_judged_by_what_another_bundle_did(device: Device):
    device.update(1, "one")
    stranger = device.seat.engine
    device.order(2, "two")
    device.poll(3)
    device.score()
    # As if the candidate had never been offered, and something that counted its rows scored in its place.
    assert stranger is not None
    assert device.seat.engine is not None
    stranger.meter = device.seat.engine.meter
    device.updater._engines._offered = device.seat.engine = stranger
    device.poll()
    assert device.updater.record.state is State.TRIAL
    assert device.scoring == 2


def test_what_is_committed_is_not_counted_any_more(device: Device):
    device.order(1, "one")
    device.poll(3)
    engine = device.seat.engine
    assert engine is not None
    assert engine.meter is not None
    device.score()
    device.poll()
    assert device.seat.engine is engine
    assert engine.meter is None


def test_a_way_back_that_fails_at_first_does_not_leave_the_candidate_scoring(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.score(rows=3, errors=1)
    device.engines.failing = {1: MemoryError()}
    device.poll(2)
    assert device.scoring is None
    # The candidate gave its memory back.
    assert device.engines.n_open == 0
    device.engines.failing = {}
    device.clock.advance(20.0)
    device.poll(2)
    assert device.scoring == 1
    assert device.updater.record.state is State.IDLE


def test_the_memory_that_a_candidate_gives_back_is_used_at_once(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.seat.hesitates = True
    device.score(rows=3, errors=1)
    device.engines.failing = {1: MemoryError()}
    device.poll()
    assert device.scoring == 2
    device.engines.failing = {}
    device.seat.hesitates = False
    device.seat.take()
    device.poll()
    assert device.scoring == 1


def test_a_candidate_that_still_scores_is_not_taken_for_the_return_of_what_is_committed(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    candidate = device.seat.engine
    device.score(rows=3, errors=1)
    device.seat.hesitates = True
    device.engines.failing = {1: MemoryError()}
    device.poll()
    # As if the way back had never been offered.
    device.updater._engines._offered = candidate
    device.poll(3)
    assert device.updater.record.state is State.ROLLING_BACK
    device.engines.failing = {}
    device.clock.advance(10.0)
    device.poll()
    device.seat.take()
    device.poll()
    assert device.scoring == 1
    assert device.updater.record.state is State.IDLE


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(5, "Input/output error"), BundleError("an upgraded runtime refuses it")]
)
def test_a_committed_bundle_that_cannot_be_opened_now_keeps_its_place_while_the_one_before_stands_in(
    device: Device, tmp_path: Path, stagings: Stagings, error: Exception
):
    device.update(1, "one")
    device.update(2, "two")
    committed = device.updater.record.active
    again = Device(tmp_path / "state", stagings, Engines(failing={2: error}))
    assert again.scoring == 1
    assert "toy/1 stands in" in again.updater.events()[-1].reason
    for _ in range(100):
        again.clock.advance(1.0)
        again.poll()
    assert again.updater.record.active == committed
    assert again.scoring == 1
    assert again.engines.n_open == 1
    assert again.kinds.count("error") == 1
    # Tried again with growing pauses: after about 10, 20, 40, 80 seconds.
    assert 4 <= again.engines.tried.count(2) <= 6
    again.engines.failing = {}
    again.clock.advance(100.0)
    again.poll(2)
    assert again.scoring == 2
    assert again.engines.n_open == 1


def test_an_order_for_a_bundle_that_cannot_be_opened_now_is_answered_when_it_runs(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    again = Device(tmp_path / "state", stagings, Engines(failing={1: MemoryError()}))
    again.updater.events_told(len(again.updater.events()))
    again.order(1, "two")
    again.poll(3)
    assert again.kinds == []
    again.engines.failing = {}
    again.clock.advance(10.0)
    again.poll()
    assert (again.scoring, again.kinds) == (1, ["committed"])


def test_a_file_that_cannot_be_opened_now_is_not_taken_for_an_altered_one(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.update(2, "two")
    before = (tmp_path / "state" / RECORD_NAME).read_bytes()
    with no_files_left(), pytest.raises(StorageError, match=f"{RECORD_NAME}: cannot be read now"):
        Device(tmp_path / "state", stagings)
    assert (tmp_path / "state" / RECORD_NAME).read_bytes() == before
    assert Device(tmp_path / "state", stagings).scoring == 2


def test_a_way_back_without_files_to_be_had_keeps_what_is_committed(device: Device):
    device.update(1, "one")
    device.update(2, "two")
    device.order(3, "three")
    device.poll(3)
    device.score(rows=3, errors=1)
    with no_files_left(), pytest.raises(OSError, match="Too many open files"):
        device.poll()
    assert device.scoring is None
    device.clock.advance(10.0)
    device.poll(2)
    assert device.scoring == 2
    record = device.updater.record
    assert [c.bundle.version for c in (record.active, record.previous) if c is not None] == [2, 1]


def test_where_the_record_has_nothing_left_a_slot_that_was_committed_is_found_again(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.update(2, "two")
    device.updater.roll_back("they say so")
    device.poll(2)
    active = device.updater.record.roles.active
    assert active is not None
    (device.store.folder(active) / "model.onnx").write_bytes(b"damaged")
    again = Device(tmp_path / "state", stagings)
    assert again.scoring == 2
    assert "going on with toy/2" in again.updater.events()[-1].reason
    again.update(3, "three")
    assert again.scoring == 3


def test_a_slot_that_is_being_filled_is_not_found_again(device: Device, tmp_path: Path, stagings: Stagings):
    for version, order_id in ((1, "a"), (2, "b"), (3, "c")):
        device.update(version, order_id)
    again = Device(tmp_path / "state", stagings, Engines(failing={2: MemoryError(), 3: MemoryError()}))
    stagings.is_slow = True
    again.order(4, "d")
    again.poll()
    candidate = again.updater.record.roles.candidate
    assert candidate is not None
    # What lay there before is not removed yet.
    assert (again.store.folder(candidate) / COMMITTED_NAME).exists()
    for slot in set(SLOTS) - {candidate}:
        (again.store.folder(slot) / "model.onnx").write_bytes(b"damaged")
    again.clock.advance(100.0)
    again.poll()
    assert again.scoring is None
    assert again.updater.record.roles.candidate == candidate
    stagings.is_slow = False
    again.poll(2)
    assert again.scoring == 4


def test_the_search_for_a_bundle_ends_though_an_alteration_shows_only_when_it_is_opened(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.update(2, "two")
    failing: dict[int, Exception] = {version: AlteredError("it flips") for version in (1, 2)}
    again = Device(tmp_path / "state", stagings, Engines(failing=failing))
    assert again.scoring is None
    assert again.engines.tried == [2, 1]
    # The slots still say it: the next start asks them.
    assert Device(tmp_path / "state", stagings).scoring == 2


def test_where_every_slot_is_altered_nothing_scores_and_an_order_mends_it(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.update(2, "two")
    for slot in SLOTS:
        if (device.store.folder(slot) / "model.onnx").exists():
            (device.store.folder(slot) / "model.onnx").write_bytes(b"damaged")
    again = Device(tmp_path / "state", stagings)
    again.poll(2)
    assert again.scoring is None
    again.update(3, "three")
    assert again.scoring == 3


def test_going_back_is_refused_when_the_previous_bundle_cannot_be_opened_now(device: Device):
    device.update(1, "one")
    device.update(2, "two")
    device.engines.failing = {1: MemoryError()}
    answer = device.updater.roll_back("they say so")
    assert (answer.accepted, "MemoryError" in answer.reason) == (False, True)
    device.poll()
    assert device.scoring == 2


def test_a_failed_first_trial_leaves_no_bundle(device: Device):
    device.order(1, "one")
    device.poll(3)
    device.score(rows=0, errors=1)
    device.poll(3)
    assert device.scoring is None
    assert device.updater.record.state is State.IDLE


@pytest.mark.parametrize("outcome", ["refused", "crashed"])
def test_what_is_refused_or_crashes_is_not_tried_again(device: Device, stagings: Stagings, outcome: str):
    stagings.report = StageReport(outcome, "it was altered")  # type: ignore[arg-type]
    device.order(1, "one")
    device.poll(5)
    assert device.kinds == ["refused"]
    assert device.updater.record.state is State.IDLE
    device.order(1, "one")
    device.poll(5)
    assert len(stagings.orders) == 1


@pytest.mark.parametrize("outcome", ["unreachable", "storage"])
def test_what_cannot_be_fetched_now_is_tried_later_with_growing_pauses(
    device: Device, stagings: Stagings, outcome: str
):
    stagings.report = StageReport(outcome, "no road")  # type: ignore[arg-type]
    device.order(1, "one")
    pauses = []
    for _ in range(8):
        tried = len(stagings.orders)
        waited = 0
        while len(stagings.orders) == tried:
            device.clock.advance(1.0)
            waited += 1
            device.poll(2)
        pauses.append(waited)
    assert pauses[1] >= 5
    assert max(pauses) <= 101
    assert pauses[-1] >= 50
    assert device.kinds == ["error"]
    stagings.report = None
    device.clock.advance(101.0)
    device.poll(4)
    device.score()
    device.poll(2)
    assert device.scoring == 1


def test_what_a_repository_that_is_behind_may_be_to_blame_for_is_refused_once_and_tried_again(
    device: Device, stagings: Stagings
):
    device.update(1, "one")
    device.updater.events_told(len(device.updater.events()))
    stagings.report = StageReport("refused", "not listed", may_pass=True)
    device.order(2, "two")
    for _ in range(300):
        device.clock.advance(1.0)
        device.poll(2)
        device.order(2, "two")
    event = device.updater.events()[0]
    assert (device.kinds, event.order_id, event.severity) == (["refused"], "two", "error")
    # One of version 1; then after 0, about 10, 20, 40, 80 and 100 seconds.
    assert 5 <= len(stagings.orders) - 1 <= 9
    assert device.scoring == 1
    stagings.report = None
    device.clock.advance(101.0)
    device.poll(4)
    assert device.scoring == 2


def test_that_an_order_is_refused_is_told_though_it_had_to_wait_before(device: Device, stagings: Stagings):
    stagings.report = StageReport("unreachable", "no road")
    device.order(1, "one")
    device.poll(2)
    stagings.report = StageReport("refused", "not listed", may_pass=True)
    device.clock.advance(101.0)
    device.poll(2)
    assert device.kinds == ["error", "refused"]


def test_an_order_that_could_not_be_fetched_survives_a_restart(device: Device, tmp_path: Path, stagings: Stagings):
    stagings.report = StageReport("unreachable", "no road")
    device.order(1, "one")
    device.poll(2)
    stagings.report = None
    again = Device(tmp_path / "state", stagings)
    again.poll(3)
    assert again.scoring == 1


@pytest.mark.parametrize("outcome", ["timed_out", "broken_off"])
def test_staging_that_always_takes_too_long_or_is_ended_is_refused_in_the_end(
    device: Device, stagings: Stagings, outcome: str
):
    stagings.report = StageReport(outcome, "too slow")  # type: ignore[arg-type]
    device.order(1, "one")
    for _ in range(10):
        device.clock.advance(1000.0)
        device.poll(2)
    assert len(stagings.orders) == 3
    assert device.kinds == ["error", "refused"]


def test_staging_that_got_further_before_it_took_too_long_may_always_go_on(
    device: Device, stagings: Stagings, tmp_path: Path
):
    stagings.report = StageReport("timed_out", "too slow")
    part = tmp_path / "state" / "tuf" / "partial" / "toy-1" / "hash"
    part.parent.mkdir(parents=True)
    device.order(1, "one")
    for attempt in range(1, 11):
        part.write_bytes(bytes(attempt))
        device.clock.advance(1000.0)
        device.poll(2)
    assert len(stagings.orders) == 10
    for _ in range(10):
        device.clock.advance(1000.0)
        device.poll(2)
    assert len(stagings.orders) == 13
    assert device.kinds[-1] == "refused"


def test_a_bundle_whose_first_run_ends_the_machine_again_and_again_is_given_up(tmp_path: Path, stagings: Stagings):
    stagings.is_slow = True
    device = Device(tmp_path / "state", stagings)
    device.order(1, "one")
    for starts in range(MAX_PROVING_STARTS + 1):
        device.poll(2)
        slot = device.updater.record.roles.candidate
        assert slot is not None, starts
        begin_proving(device.store.folder(slot))
        device = Device(tmp_path / "state", stagings)
    stagings.is_slow = False
    device.poll(5)
    assert (device.scoring, device.kinds) == (None, ["refused"])
    assert len(stagings.orders) == MAX_PROVING_STARTS + 1
    device.order(1, "one")
    device.poll(5)
    assert device.scoring is None
    device.order(1, "two")
    device.poll(5)
    assert device.scoring == 1


def test_cuts_before_the_first_run_and_polite_stops_in_it_are_not_held_against_a_bundle(
    tmp_path: Path, stagings: Stagings
):
    stagings.is_slow = True
    device = Device(tmp_path / "state", stagings)
    device.order(1, "one")
    for starts in range(10):
        device.poll(2)
        if starts % 2:
            slot = device.updater.record.roles.candidate
            assert slot is not None
            begin_proving(device.store.folder(slot))
            device.updater.stop()
        device = Device(tmp_path / "state", stagings)
    stagings.is_slow = False
    device.poll(3)
    assert device.scoring == 1


def test_the_memory_that_the_agent_takes_in_a_trial_is_held_against_the_bundle(tmp_path: Path, stagings: Stagings):
    taken = [100]
    settings = msgspec.structs.replace(SETTINGS, trial_max_memory_bytes=1000)
    device = Device(tmp_path / "state", stagings, settings=settings, read_memory=lambda: taken[0])
    device.update(1, "one")
    assert device.scoring == 1
    device.order(2, "two")
    device.poll(3)
    taken[0] = 1001
    device.poll()
    device.poll(2)
    assert (device.scoring, device.kinds[-1]) == (1, "rolled_back")


def test_a_newer_order_takes_the_place_of_one_that_is_being_fetched(device: Device, stagings: Stagings):
    stagings.is_slow = True
    device.order(1, "one")
    device.poll(2)
    device.order(2, "two")
    device.poll(1)
    assert stagings.cancelled == 1
    stagings.is_slow = False
    device.poll(2)
    assert device.scoring == 2


def test_ordering_what_runs_ends_the_fetching_of_another(device: Device, stagings: Stagings):
    device.update(1, "one")
    stagings.is_slow = True
    device.order(2, "two")
    device.poll(2)
    device.order(1, "three")
    device.poll(3)
    assert stagings.cancelled == 1
    assert device.updater.record.state is State.IDLE
    assert device.scoring == 1


def test_ordering_the_committed_bundle_ends_a_trial(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    assert device.scoring == 2
    device.order(1, "three")
    device.poll(4)
    assert device.scoring == 1
    assert device.kinds[-2:] == ["rolled_back", "committed"]


def test_an_order_that_comes_in_a_trial_waits_for_its_end(device: Device):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.order(3, "three")
    device.poll(5)
    assert device.scoring == 2
    device.score()
    device.poll(5)
    assert device.scoring == 3


def test_a_person_can_go_back_once(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    device.update(2, "two")
    assert device.updater.roll_back("they say so").accepted
    device.poll(2)
    assert device.scoring == 1
    assert device.engines.n_open == 1
    assert not device.updater.roll_back("again").accepted
    again = Device(tmp_path / "state", stagings)
    again.order(2, "two")
    again.poll(5)
    assert again.scoring == 1


def test_after_going_back_a_lost_record_is_rebuilt_with_what_was_gone_back_to(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.update(2, "two")
    device.updater.roll_back("they say so")
    device.poll(3)
    (tmp_path / "state" / RECORD_NAME).unlink()
    assert Device(tmp_path / "state", stagings).scoring == 1


def test_going_back_is_refused_when_the_previous_bundle_is_damaged(device: Device):
    device.update(1, "one")
    device.update(2, "two")
    slot = device.updater.record.roles.previous
    assert slot is not None
    (device.store.folder(slot) / "model.onnx").write_bytes(b"damaged")
    assert not device.updater.roll_back("they say so").accepted
    device.poll(3)
    assert device.scoring == 2


def test_a_bundle_in_whose_trial_the_agent_dies_too_often_is_rolled_back_at_the_start(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    scored = [Device(tmp_path / "state", stagings).scoring for _ in range(4)]
    assert scored == [2, 2, 1, 1]
    last = Device(tmp_path / "state", stagings)
    assert "had to be started 3 times" in next(e for e in last.updater.events() if e.kind == "rolled_back").reason


def test_polite_stops_do_not_count_as_deaths(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(3)
    device.updater.stop()
    for _ in range(6):
        again = Device(tmp_path / "state", stagings)
        assert again.scoring == 2
        again.updater.stop()


def test_a_damaged_active_slot_gives_way_to_the_previous(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    device.update(2, "two")
    slot = device.updater.record.roles.active
    assert slot is not None
    (device.store.folder(slot) / "manifest.json").write_bytes(b"{}")
    again = Device(tmp_path / "state", stagings)
    assert again.scoring == 1
    assert again.kinds[-1] == "error"
    # It can be fetched again: nothing was wrong with the bundle itself.
    again.order(2, "two")
    again.poll(3)
    assert again.scoring == 2


def test_a_staged_candidate_that_was_damaged_before_its_trial_is_refused(
    device: Device, tmp_path: Path, stagings: Stagings
):
    device.update(1, "one")
    device.order(2, "two")
    device.poll(1)
    # Proved, and cut before the trial: the record as it was saved then.
    saved = device.updater.record
    assert saved.state is State.FETCHING
    device.poll(1)
    candidate = device.updater.record.roles.candidate
    assert candidate is not None
    (device.store.folder(candidate) / "model.onnx").write_bytes(b"damaged")
    again = Device(tmp_path / "state", stagings)
    assert again.scoring == 1
    assert again.kinds[-1] == "rolled_back"


def test_a_state_folder_that_cannot_be_written_changes_nothing(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    device.update(1, "one")
    before = (tmp_path / "state" / RECORD_NAME).read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.update.slots.replace_file", refuse)
        device.order(2, "two")
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                device.poll()
        assert device.scoring == 1
        assert (tmp_path / "state" / RECORD_NAME).read_bytes() == before
    device.poll(3)
    assert device.scoring == 2


def test_after_a_cut_before_any_change_of_a_file_the_device_scores_with_what_proved_itself(
    tmp_path: Path, stagings: Stagings
):
    """Copy the state folder before each operation on a file in it, and start a device from every copy."""
    state, copies = tmp_path / "state", tmp_path / "copies"
    cuts: list[tuple[Path, int | None]] = []
    committed: list[int] = []
    # The copying itself opens files; one hook cannot be removed again, so it is told when to sleep.
    is_awake = False

    def copy_before(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal is_awake
        if not is_awake or event not in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}:
            return
        is_reading = event == "open" and (not isinstance(arguments[2], int) or not arguments[2] & 3)
        if not str(arguments[0]).startswith(str(state)) or is_reading:
            return
        is_awake = False
        copy = copies / str(len(cuts))
        shutil.copytree(state, copy)
        cuts.append((copy, committed[-1] if committed else None))
        is_awake = True

    sys.addaudithook(copy_before)
    device = Device(state, stagings)
    is_awake = True
    for version, order_id in ((1, "a"), (2, "b"), (3, "c")):
        device.update(version, order_id)
        committed.append(version)
        device.updater.events_told(len(device.updater.events()))
    device.order(4, "d")
    device.poll(3)
    device.score(rows=0, errors=1)
    device.poll(3)
    device.updater.roll_back("they say so")
    device.poll(3)
    is_awake = False

    assert len(cuts) > 60
    for copy, last in cuts:
        lost = copy.with_name(f"{copy.name}-lost")
        shutil.copytree(copy, lost)
        again = Device(copy, stagings)
        record = again.updater.record
        # What was committed last, or is being committed; at the end, what was gone back to.
        proved = {None, 1} if last is None else {last, min(last + 1, 3), *([2] if last == 3 else [])}
        assert again.scoring in proved or (record.state is State.TRIAL and record.starts == 1), copy
        if last is not None:
            assert again.scoring is not None, copy
        assert record.active is None or record.roles.active in SLOTS
        # The record lost as well: only a bundle that was committed before will do.
        (lost / RECORD_NAME).unlink(missing_ok=True)
        rebuilt = Device(lost, stagings).scoring
        assert rebuilt in ({None, 1} if last is None else {last, last - 1, min(last + 1, 3)}), lost
        # Whatever was cut, the device can still be updated.
        again.order(2, "later")
        again.poll(4)
        if again.seat.engine is not None and again.seat.engine.meter is not None:
            again.score()
        again.poll(8)
        if again.seat.engine is not None and again.seat.engine.meter is not None:
            again.score()
        again.poll(2)
        assert again.scoring == 2, copy


def test_a_lost_record_falls_back_on_the_newest_commit(device: Device, tmp_path: Path, stagings: Stagings):
    for version, order_id in ((1, "a"), (2, "b"), (3, "c")):
        device.update(version, order_id)
    device.order(4, "d")
    device.poll(3)
    assert device.scoring == 4
    (tmp_path / "state" / RECORD_NAME).write_bytes(b"\x00\x01")
    again = Device(tmp_path / "state", stagings)
    # Version 4 was on trial and had proved nothing.
    assert again.scoring == 3
    assert "cannot be used" in again.updater.events()[0].reason
    assert (tmp_path / "state" / f"{RECORD_NAME}.corrupt").exists()
    previous = again.updater.record.previous
    assert previous is not None
    assert previous.bundle.version == 2


def test_a_lost_record_passes_over_damaged_commits(device: Device, tmp_path: Path, stagings: Stagings):
    device.update(1, "one")
    device.update(2, "two")
    active = device.updater.record.roles.active
    assert active is not None
    (device.store.folder(active) / "model.onnx").write_bytes(b"damaged")
    (tmp_path / "state" / RECORD_NAME).unlink()
    assert Device(tmp_path / "state", stagings).scoring == 1


def test_a_slot_says_that_it_was_committed_only_after_the_trial(device: Device):
    device.order(1, "one")
    device.poll(3)
    slot = device.updater.record.roles.candidate
    assert slot is not None
    assert not (device.store.folder(slot) / COMMITTED_NAME).exists()
    device.score()
    device.poll()
    assert (device.store.folder(slot) / COMMITTED_NAME).exists()


def test_a_new_device_has_no_bundle_and_says_nothing(device: Device):
    assert device.scoring is None
    assert device.kinds == []
    assert Engines().n_open == 0


class TestCarried:
    """Orders that come with an update file."""

    ID = "local-0123456789abcdef"

    def carry(self, device: Device, state: Path, version: int = 2) -> Path:
        copy_into_inbox(state, self.ID, io.BytesIO(b"an update file"))
        device.updater.on_carried(Desired(BundleRef("toy", version), self.ID, 1.7e9, "me"), self.ID)
        return file_in_inbox(state, self.ID)

    def test_the_file_is_kept_until_the_order_is_settled(self, device: Device, tmp_path: Path, stagings: Stagings):
        device.update(1, "one")
        file = self.carry(device, tmp_path / "state")
        device.poll(1)
        assert stagings.orders[-1].carried == str(file)
        assert file.exists()
        device.poll(2)
        device.score()
        device.poll(2)
        assert (device.scoring, file.exists()) == (2, False)
        # The broker retains the order before it.
        device.order(1, "one")
        device.poll(3)
        assert device.scoring == 2
        device.order(1, "another")
        device.poll(3)
        assert device.scoring == 1
        assert stagings.orders[-1].carried == ""

    def test_a_cut_while_it_is_proved_goes_on_with_the_file(self, device: Device, tmp_path: Path, stagings: Stagings):
        stagings.is_slow = True
        file = self.carry(device, tmp_path / "state")
        device.poll(2)
        again = Device(tmp_path / "state", stagings)
        assert file.exists()
        again.poll(2)
        assert stagings.orders[-1].carried == str(file)
        stagings.is_slow = False
        again.poll(3)
        assert again.scoring == 2

    @pytest.mark.parametrize("outcome", ["unreachable", "storage", "refused", "timed_out", "crashed"])
    def test_what_does_not_succeed_is_refused_at_once_and_the_file_removed(
        self, device: Device, tmp_path: Path, stagings: Stagings, outcome: str
    ):
        stagings.report = StageReport(outcome, "because", may_pass=True)  # type: ignore[arg-type]
        file = self.carry(device, tmp_path / "state")
        device.poll(3)
        assert (device.updater.record.state, device.kinds, file.exists()) == (State.IDLE, ["refused"], False)

    def test_a_newer_order_takes_its_place(self, device: Device, tmp_path: Path, stagings: Stagings):
        stagings.is_slow = True
        file = self.carry(device, tmp_path / "state")
        device.poll(1)
        device.order(1, "one")
        device.poll(1)
        assert not file.exists()
        stagings.is_slow = False
        device.poll(3)
        assert device.scoring == 1
        assert stagings.orders[-1].carried == ""

    def test_a_newer_order_takes_its_place_before_it_was_looked_at(self, device: Device, tmp_path: Path):
        file = self.carry(device, tmp_path / "state")
        device.order(1, "one")
        device.poll(1)
        assert not file.exists()

    def test_a_file_that_nobody_asks_for_is_removed_at_a_start(self, tmp_path: Path, stagings: Stagings):
        copy_into_inbox(_made(tmp_path / "state"), self.ID, io.BytesIO(b"left"))
        Device(tmp_path / "state", stagings)
        assert not file_in_inbox(tmp_path / "state", self.ID).exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
