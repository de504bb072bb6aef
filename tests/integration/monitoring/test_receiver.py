import sqlite3

import numpy as np
import pytest

from broker.client import Delivery
from broker.messages import Label, Labels, Sample, Samples, encode
from broker.servers.local import start_local_broker
from broker.topics import SHARDS, Channel, shard_of
from tests.raw_mqtt import publish_raw
from tests.unit.trainer.simulated_fleet import draw_window, make_manifest
from tests.waiting import wait_until
from trainer.monitoring.fleet import count_windows, intake_totals, list_devices, refused_by_device
from trainer.monitoring.outcomes import AT_RANDOM, labelled_samples

MANIFEST = make_manifest()


def put_windows(device, n):
    rng = np.random.default_rng(1)
    for _ in range(n):
        device.put(Channel.TELEMETRY, draw_window(rng, MANIFEST))


def test_every_record_is_stored_once_and_its_mark_comes_back(make_monitor, make_device, store):
    make_monitor()
    devices = [make_device(name) for name in ("a", "b")]
    for device in devices:
        put_windows(device, 30)
        assert device.send_spool()
        device.send_spool()
    wait_until(lambda: not any(device.spool for device in devices))
    assert count_windows(store, after=0) == {"a": 30, "b": 30}
    assert intake_totals(store).records == 60


def test_a_device_that_comes_later_finds_the_mark_retained(make_monitor, make_device):
    make_monitor()
    first = make_device("a")
    put_windows(first, 3)
    first.send_spool()
    wait_until(lambda: not first.spool)
    first.client.close()
    again = make_device("a")
    # amqtt sends a retained message once for each of two reasons.
    wait_until(lambda: {mark.sequence for mark in again.marks} == {3})


def test_a_monitor_that_was_away_and_started_anew_loses_nothing_and_stores_nothing_twice(
    make_monitor, make_device, store
):
    monitor = make_monitor()
    device = make_device("a")
    put_windows(device, 10)
    device.send_spool()
    wait_until(lambda: not device.spool)
    monitor.close()
    put_windows(device, 10)
    device.send_spool()
    assert len(device.spool) == 10
    make_monitor()
    device.send_spool()
    wait_until(lambda: not device.spool)
    assert count_windows(store, after=0) == {"a": 20}
    assert intake_totals(store).records == 20


def test_hostile_messages_are_counted_for_their_device_and_harm_no_other(broker, make_monitor, make_device, store):
    make_monitor()
    good, bad = make_device("good"), make_device("bad")
    put_windows(good, 5)
    for payload in (b"\x01\xff\xff", b"\x09", b"\x01" * 100_000, b"\x01" + b"\x91" * 2000):
        for channel in (Channel.TELEMETRY, Channel.STATUS, Channel.SAMPLES, Channel.EVENTS, Channel.LABELS):
            if len(payload) <= 4096:
                bad.client.publish(bad.topic(channel), payload)
    publish_raw(broker.endpoint, "fieldloop/1/main/zz/bad/telemetry", b"x")
    publish_raw(broker.endpoint, str(bad.topic(Channel.STATUS)), b"\x01" * 100_000)
    good.send_spool()
    wait_until(lambda: not good.spool)
    wait_until(lambda: refused_by_device(store) == {"bad": 16})
    put_windows(bad, 1)
    bad.send_spool()
    wait_until(lambda: not bad.spool)
    assert count_windows(store, after=0) == {"good": 5, "bad": 1}


def test_status_samples_and_labels_reach_the_store(make_monitor, make_device, store):
    make_monitor()
    device = make_device("a")
    device.say_status(MANIFEST.ref)
    samples = (Sample("a.0", 1.0, (0.0, 1.0), 1.0, 0.7, agrees=True, reason="background"),)
    device.put(Channel.SAMPLES, Samples(MANIFEST.ref, samples))
    device.send_spool()
    labels = Labels("truth", (Label("a.0", "wet", 2.0),))
    device.send(Delivery(device.topic(Channel.LABELS), encode(labels), retained=False))
    wait_until(lambda: len(labelled_samples(store, MANIFEST.ref, reasons=AT_RANDOM, latest=5)) == 1)
    wait_until(lambda: [state.bundle for state in list_devices(store)] == [MANIFEST.ref])


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_while_the_database_is_locked_nothing_is_marked_and_afterwards_everything(
    make_monitor, make_device, store, tmp_path
):
    monitor = make_monitor()
    device = make_device("a")
    put_windows(device, 5)
    other = sqlite3.connect(tmp_path / "fleet.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    device.send_spool()
    wait_until(lambda: monitor.receiver.is_waiting_for_database, 30)
    assert device.marks == []
    assert len(device.spool) == 5
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: not device.spool, 30)
    assert count_windows(store, after=0) == {"a": 5}


def test_a_monitor_of_other_shards_leaves_a_device_alone(make_monitor, make_device, store):
    device = make_device("a")
    shard = shard_of(device.name)
    other = make_monitor(shards=[s for s in SHARDS[:100] if s != shard])
    put_windows(device, 2)
    device.send_spool()
    mine = make_monitor(shards=[shard])
    device.send_spool()
    wait_until(lambda: not device.spool)
    assert other.receiver.counts.stored == 0
    assert mine.receiver.counts.stored == 2
    assert intake_totals(store).records == 2


@pytest.mark.timeout(120)
def test_a_broker_that_dies_and_comes_back_costs_nothing(broker, make_monitor, make_device, store, tmp_path):
    monitor = make_monitor()
    device = make_device("a")
    put_windows(device, 5)
    device.send_spool()
    wait_until(lambda: not device.spool)
    port = broker.endpoint.port
    broker.process.kill()
    broker.process.wait()
    put_windows(device, 5)
    wait_until(lambda: not device.client.is_connected, 30)
    back = start_local_broker(tmp_path / "broker", port=port, kind=broker.kind)
    try:
        wait_until(lambda: monitor.client.is_connected and device.client.is_connected, 60)
        wait_until(lambda: device.send_spool() and not device.spool, 30)
        assert count_windows(store, after=0) == {"a": 10}
    finally:
        device.client.close()
        monitor.close()
        back.stop()
