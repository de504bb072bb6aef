import sqlite3

import numpy as np
import pytest
from sqlalchemy import event

from broker.client import Delivery
from broker.messages import (
    BundleRef,
    Label,
    Labels,
    RecordKey,
    Sample,
    Samples,
    TelemetryWindow,
    encode,
    encode_body,
    encode_record,
    parse,
)
from broker.packs import pack_windows
from broker.topics import Channel
from tests.refusing import refuse_rows, take_rows
from tests.unit.trainer.simulated_fleet import ManualClock, SimulatedDevice, draw_window, make_manifest
from trainer.monitoring.fleet import (
    count_windows,
    intake_totals,
    latest_windows,
    list_devices,
    list_events,
    refused_by_device,
    totals_of_devices,
)
from trainer.monitoring.intake import Intake, Mark
from trainer.monitoring.outcomes import AT_RANDOM, errors_of, labelled_samples, unknown_labels
from trainer.monitoring.store import StoreError, StoreUnavailableError, open_store, store_uri
from trainer.monitoring.tables import BUNDLE_HISTORY, RECORDS, REFUSED, SAMPLES, SCHEMA, WINDOWS

MANIFEST = make_manifest()


@pytest.fixture
def store(tmp_path):
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


@pytest.fixture
def intake(store):
    return Intake(store, ManualClock())


def window_records(device, n):
    rng = np.random.default_rng(1)
    return [device.record(Channel.TELEMETRY, draw_window(rng, MANIFEST, first_row=50 * i)) for i in range(n)]


def rows_of(store, table):
    with store.reading() as connection:
        return connection.execute(table.select()).all()


def test_records_in_order_are_stored_and_marked_to_the_last(store, intake):
    device = SimulatedDevice("a")
    assert intake.take(window_records(device, 3)) == [Mark(device.name, device.epoch, 3)]
    assert count_windows(store, after=0) == {device.name: 3}


def test_a_record_that_comes_twice_is_stored_once_and_counted(store, intake):
    records = window_records(SimulatedDevice("a"), 2)
    intake.take(records)
    intake.take([*records, *records])
    assert intake_totals(store).records == 2
    assert intake_totals(store).resent == 4
    assert len(rows_of(store, WINDOWS)) == 2


def test_a_record_beyond_a_hole_is_stored_but_the_mark_waits_for_the_hole(intake, store):
    device = SimulatedDevice("a")
    first, second, third = window_records(device, 3)
    assert intake.take([first, third]) == [Mark(device.name, device.epoch, 1)]
    assert intake_totals(store).records == 2
    assert intake.take([second]) == [Mark(device.name, device.epoch, 3)]


def test_nothing_is_marked_while_the_first_record_is_missing(intake):
    assert intake.take(window_records(SimulatedDevice("a"), 2)[1:]) == []


def test_a_record_that_is_sent_again_is_marked_again_for_brokers_that_forgot_the_mark(intake):
    device = SimulatedDevice("a")
    records = window_records(device, 1)
    assert intake.take(records) == intake.take(records) == [Mark(device.name, device.epoch, 1)]


def test_numbers_that_thinning_dropped_leave_no_hole(intake):
    device = SimulatedDevice("a")
    first = window_records(device, 1)
    body = encode_body(draw_window(np.random.default_rng(1), MANIFEST))
    jumped = Delivery(
        device.topic(Channel.TELEMETRY), encode_record(RecordKey(device.epoch, 9, 1), body), retained=False
    )
    assert intake.take([*first, jumped]) == [Mark(device.name, device.epoch, 9)]


def test_a_new_epoch_is_counted_from_its_own_beginning(store, intake):
    old, new = SimulatedDevice("a", epoch=1), SimulatedDevice("a", epoch=2)
    intake.take(window_records(old, 3))
    assert intake.take(window_records(new, 1)) == [Mark(new.name, new.epoch, 1)]
    assert intake_totals(store).records == 4


def test_another_process_goes_on_from_the_marks_and_holes_in_the_database(store, intake):
    device = SimulatedDevice("a")
    records = window_records(device, 5)
    intake.take([records[0], records[2], records[3]])
    restarted = Intake(store, ManualClock())
    assert restarted.take([records[0]]) == [Mark(device.name, device.epoch, 1)]
    assert restarted.take([records[1]]) == [Mark(device.name, device.epoch, 4)]
    assert intake_totals(store).records == 4


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"", "MalformedMessageError"),
        (b"\x01", "MalformedMessageError"),
        (b"\x01\xc1\xff\x00", "MalformedMessageError"),
        (b"\x03anything", "UnknownVersionError"),
        (b"\x02anything", "MalformedMessageError"),
        (b"\x01" + b"\xdd\xff\xff\xff\xff", "MalformedMessageError"),
        (b"\x01" + b"\x91" * 5000, "MalformedMessageError"),
        (b"\x01" * (300 << 10), "MessageTooLargeError"),
    ],
)
def test_a_hostile_message_is_kept_for_people_and_harms_no_other_device(store, intake, payload, kind):
    good, bad = SimulatedDevice("good"), SimulatedDevice("bad")
    hostile = Delivery(bad.topic(Channel.TELEMETRY), payload, retained=False)
    first, second = window_records(good, 2)
    assert intake.take([first, hostile, second]) == [Mark(good.name, good.epoch, 2)]
    assert refused_by_device(store) == {bad.name: 1}
    (row,) = rows_of(store, REFUSED)
    assert (row.kind, row.channel) == (kind, "telemetry")
    assert payload.startswith(row.last_payload)
    assert len(row.last_payload) <= 4096


def test_a_pack_is_stored_as_its_records_and_marked_through_the_last(store, intake):
    device = SimulatedDevice("packs")
    records = []
    for delivery in window_records(device, 3):
        key, window = parse(Channel.TELEMETRY, delivery.payload)
        assert key is not None
        assert isinstance(window, TelemetryWindow)
        records.append((key, window))
    pack = Delivery(device.topic(Channel.TELEMETRY), pack_windows(records), retained=False)
    assert intake.take([pack, pack]) == [Mark(device.name, device.epoch, 3)]
    assert [row.body for row in rows_of(store, WINDOWS)] == [encode_body(window) for _, window in records]
    assert (intake.counts.stored, intake.counts.resent, intake.counts.refused) == (3, 3, 0)


def test_many_hostile_messages_take_one_row_and_are_counted(store, intake):
    bad = SimulatedDevice("bad")
    for _ in range(3):
        intake.take([Delivery(bad.topic(Channel.STATUS), b"\x07", retained=True)] * 5)
    assert refused_by_device(store) == {bad.name: 15}
    assert len(rows_of(store, REFUSED)) == 1
    assert intake.counts.refused == 15


def test_a_version_that_no_reader_here_knows_is_told_as_an_event_of_its_device_once(store, intake):
    device = SimulatedDevice("new")
    for payload in (b"\x09first", b"\x09again", b"\x08other"):
        intake.take([Delivery(device.topic(Channel.TELEMETRY), payload, retained=False)])
    intake.take([Delivery(device.topic(Channel.STATUS), b"\x09", retained=True)])
    told = [(event.device, event.kind, event.severity, event.reason) for event in list_events(store)]
    assert told == [
        ("new", "unknown_version", "warning", "telemetry: message version 9, this reader knows 1; update the reader"),
        ("new", "unknown_version", "warning", "telemetry: message version 8, this reader knows 1; update the reader"),
        ("new", "unknown_version", "warning", "status: message version 9, this reader knows 1; update the reader"),
    ]
    assert refused_by_device(store) == {"new": 4}
    # Its records are numbered as if nothing had been.
    assert intake.take(window_records(device, 2)) == [Mark(device.name, device.epoch, 2)]


def test_a_record_whose_body_is_rubbish_is_marked_so_that_its_device_is_not_stuck(store, intake):
    device = SimulatedDevice("a")
    rubbish = Delivery(
        device.topic(Channel.TELEMETRY),
        encode_record(RecordKey(device.epoch, 1, 0), b"\x93\x01\x02\x03"),
        retained=False,
    )
    device.sequence = 1
    assert intake.take([rubbish, *window_records(device, 1)]) == [Mark(device.name, device.epoch, 2)]
    assert [row.channel for row in rows_of(store, RECORDS)] == ["refused", "telemetry"]


def test_a_message_that_the_database_cannot_hold_is_refused_alone(store, intake):
    good, bad = SimulatedDevice("good"), SimulatedDevice("bad")
    with store.writing() as connection:
        refuse_rows(connection, "windows", "NEW.first_row = 666")
    rng = np.random.default_rng(1)
    poison = bad.record(Channel.TELEMETRY, draw_window(rng, MANIFEST, first_row=666))
    first, second = window_records(good, 2)
    marks = intake.take([first, poison, second])
    assert Mark(good.name, good.epoch, 2) in marks
    assert Mark(bad.name, bad.epoch, 1) in marks
    assert count_windows(store, after=0) == {good.name: 2}
    assert refused_by_device(store) == {bad.name: 1}


def test_records_of_a_batch_that_ended_in_a_surprise_are_not_covered_by_a_later_mark(store, intake):
    first, second = window_records(device := SimulatedDevice("a"), 2)

    def run_out_of_memory(_connection, _cursor, statement, *_):
        if "INTO windows" in statement:
            raise MemoryError

    event.listen(store._engine, "before_cursor_execute", run_out_of_memory)
    with pytest.raises(MemoryError):
        intake.take([first])
    event.remove(store._engine, "before_cursor_execute", run_out_of_memory)
    assert intake.take([second]) == []
    assert intake.take([first]) == [Mark(device.name, device.epoch, 2)]
    assert count_windows(store, after=0) == {device.name: 2}


def test_a_message_of_which_not_even_the_refusal_is_stored_is_not_covered_by_a_later_mark(store, intake):
    with store.writing() as connection:
        refuse_rows(connection, "windows", "NEW.first_row = 0")
        refuse_rows(connection, "refused")
    first, second = window_records(device := SimulatedDevice("a"), 2)
    with pytest.raises(StoreError):
        intake.take([first])
    assert intake.take([second]) == []
    with store.writing() as connection:
        take_rows(connection, "windows")
    assert intake.take([first]) == [Mark(device.name, device.epoch, 2)]


def test_a_locked_database_stores_and_marks_nothing_and_takes_the_same_batch_later(tmp_path):
    path = tmp_path / "fleet.db"
    store = open_store(store_uri(path))
    intake = Intake(store, ManualClock())
    device = SimulatedDevice("a")
    records = window_records(device, 2)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        store._engine.dispose()
        event.listen(store._engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=10"))
        with pytest.raises(StoreUnavailableError):
            intake.take(records)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert intake.take(records) == [Mark(device.name, device.epoch, 2)]
    assert intake_totals(store).records == 2
    assert intake_totals(store).resent == 0
    store.close()


def test_the_last_status_stands_and_bundles_leave_a_history(store, intake):
    device = SimulatedDevice("a")
    one, two = BundleRef("weather", 1), BundleRef("weather", 2)
    intake.take([device.status(None)])
    intake.take([device.status(one), device.status(one), device.status(two, update_state="trial")])
    Intake(store, ManualClock()).take([device.status(two), device.status(two, online=False)])
    (state,) = list_devices(store)
    assert (state.online, state.bundle, state.update_state) == (False, two, "idle")
    assert state.status is not None
    assert [row.version for row in rows_of(store, BUNDLE_HISTORY)] == [1, 2]


def test_samples_and_labels_are_joined_by_device_and_prediction(store, intake):
    device, other = SimulatedDevice("a"), SimulatedDevice("b")
    ref = MANIFEST.ref
    samples = Samples(
        ref,
        tuple(
            Sample(f"a.{i}", 1.0, (0.0, None), float(i % 2), 0.7, agrees=True, reason=reason)
            for i, reason in enumerate(("background", "uncertain", "asked", "asked"))
        ),
    )
    labels = Labels("t", (Label("a.0", "dry", 2.0), Label("a.2", "wet", 2.0), Label("a.3", "hail", 2.0)))
    stolen = Samples(ref, (Sample("a.0", 1.0, (9.0, 9.0), 1.0, 0.7, agrees=True, reason="background"),))
    intake.take([device.record(Channel.SAMPLES, samples), other.record(Channel.SAMPLES, stolen)])
    intake.take([Delivery(device.topic(Channel.LABELS), encode(labels), retained=False)] * 2)
    joined = labelled_samples(store, ref, reasons=AT_RANDOM, latest=10)
    assert [sample.prediction_id for sample in joined] == ["a.0", "a.2", "a.3"]
    assert errors_of(joined, MANIFEST) == (0.0, 1.0)
    assert unknown_labels(joined, MANIFEST) == 1
    assert labelled_samples(store, ref, reasons=("uncertain",), latest=10) == ()
    assert [s.prediction_id for s in labelled_samples(store, ref, reasons=AT_RANDOM, latest=1)] == ["a.3"]
    assert len(rows_of(store, SAMPLES)) == 5


def test_sums_by_device_and_the_latest_windows_are_of_the_bundle_asked_for(store, intake):
    device = SimulatedDevice("a")
    intake.take(window_records(device, 4))
    newer = make_manifest(version=2)
    intake.take([device.record(Channel.TELEMETRY, draw_window(np.random.default_rng(1), newer))])
    totals = totals_of_devices(store, MANIFEST.ref)[device.name]
    assert (totals.windows, totals.rows_scored) == (4, 200)
    assert totals_of_devices(store)[device.name].windows == 5
    latest = latest_windows(store, MANIFEST.ref, per_device=2)[device.name]
    assert [stored.window.first_row for stored in latest] == [100, 150]
    assert latest_windows(store, MANIFEST.ref, per_device=2, after=latest[-1].number) == {}


def test_a_database_of_another_version_is_refused(tmp_path):
    uri = store_uri(tmp_path / "fleet.db")
    store = open_store(uri)
    with store.writing() as connection:
        connection.execute(SCHEMA.update().values(version=99))
    store.close()
    with pytest.raises(StoreError, match="version 99"):
        open_store(uri)


def test_a_database_that_cannot_be_reached_says_so(tmp_path):
    with pytest.raises(StoreUnavailableError):
        open_store(store_uri(tmp_path / "no" / "such" / "folder" / "fleet.db"))


def test_an_address_that_is_none_is_refused():
    with pytest.raises(StoreError):
        open_store("what is this")
