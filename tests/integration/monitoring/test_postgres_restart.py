"""A PostgreSQL server that is ended and started again under a monitor: what a device was told is stored, is stored."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import select

from broker.client import Delivery
from broker.messages import Label, Labels, Sample, Samples, encode
from broker.servers.local import start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel
from tests.conftest import REPOSITORY
from tests.integration.monitoring.conftest import WiredDevice
from tests.ports import free_port
from tests.postgres import postgres_server
from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.simulated_fleet import draw_window, make_manifest
from tests.waiting import wait_until
from trainer.monitoring.fleet import count_windows, intake_totals, list_devices
from trainer.monitoring.outcomes import AT_RANDOM, labelled_samples
from trainer.monitoring.store import open_store
from trainer.monitoring.tables import LABELS, RECORDS, WINDOWS

MANIFEST = make_manifest()
# Records that a device had sent when the server was ended: its samples, and twice forty windows.
N_BEFORE = 81

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server():
    with postgres_server() as started:
        yield started


@pytest.fixture
def broker(tmp_path):
    """Mosquitto: it keeps what a monitor has not acknowledged."""
    if find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    started = start_local_broker(tmp_path / "broker", port=free_port(), kind="mosquitto")
    yield started
    started.stop()


@pytest.fixture
def store(server):
    opened = open_store(server.new_database("fleet"))
    yield opened
    opened.close()


def put_windows(device, n, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        device.put(Channel.TELEMETRY, draw_window(rng, MANIFEST))


def sequences(store, table, device):
    query = select(table.c.sequence).where(table.c.device == device).order_by(table.c.sequence)
    with store.reading() as connection:
        return list(connection.execute(query).scalars())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["shut down", "as after a crash"])
def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice(make_monitor, make_device, server, store, how):
    monitor = make_monitor()
    devices = [make_device(name) for name in ("a", "b")]
    for device in devices:
        device.say_status(MANIFEST.ref)
        device.put(
            Channel.SAMPLES,
            Samples(MANIFEST.ref, (Sample(f"{device.name}.0", 1.0, (0.0, 1.0), 1.0, 0.7, True, "background"),)),
        )
        put_windows(device, 40)
    # In the midst of it: some are acknowledged, some are on their way.
    for device in devices:
        device.send_spool()
    wait_until(lambda: all(device.marks for device in devices))
    for device in devices:
        put_windows(device, 40, seed=2)
        device.send_spool()
    server.stop(how)

    # While it is away nothing new is marked, and a label is not acknowledged.
    for device in devices:
        put_windows(device, 20, seed=3)
        device.send_spool()
    wait_until(lambda: monitor.receiver.is_waiting_for_database, 60)
    labels = Labels("truth", (Label("a.0", "wet", 2.0),))
    devices[0].send(Delivery(devices[0].topic(Channel.LABELS), encode(labels), retained=False))
    # Marks from before may have been on their way all the time.
    told = {device.name: max(mark.sequence for mark in device.marks) for device in devices}
    assert all(n <= N_BEFORE for n in told.values())
    assert all(device.spool for device in devices)

    server.start()
    for device in devices:
        found = sequences(store, RECORDS, device.name)
        assert found[: told[device.name]] == list(range(1, told[device.name] + 1)), "told to be stored, and is not"

    def is_empty():
        for device in devices:
            device.send_spool()
        return not any(device.spool for device in devices)

    wait_until(is_empty, 120)
    assert count_windows(store, after=0) == {"a": 100, "b": 100}
    for device in devices:
        assert sequences(store, RECORDS, device.name) == list(range(1, 102))
        assert sequences(store, WINDOWS, device.name) == list(range(2, 102))
    assert intake_totals(store).records == 202
    wait_until(lambda: len(labelled_samples(store, MANIFEST.ref, reasons=AT_RANDOM, latest=5)) == 1, 60)
    with store.reading() as connection:
        assert len(connection.execute(select(LABELS)).all()) == 1
    assert {state.device: state.bundle for state in list_devices(store)} == {"a": MANIFEST.ref, "b": MANIFEST.ref}


def test_the_commands_take_the_address_and_go_on_over_a_restart(server, broker, tmp_path, monkeypatch):
    address = server.new_database("commands")
    monkeypatch.setenv("FIELDLOOP_STORES_TELEMETRY", address)
    project = write_small_project(tmp_path)
    command = [sys.executable, "-m", "trainer.cli"]

    def devices():
        listed = [*command, "devices", "--project", str(project), "--json"]
        done = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
        return {row["device"] for row in json.loads(done.stdout)}

    monitor = subprocess.Popen(
        [*command, "monitor", "--project", str(project), "--broker", str(broker.endpoint)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    device = WiredDevice(broker, "a")
    try:
        assert monitor.stdout is not None
        assert "monitoring fleet 'main'" in monitor.stdout.readline()
        device.say_status(MANIFEST.ref)
        put_windows(device, 5)
        wait_until(lambda: device.send_spool() and not device.spool, 60)
        assert devices() == {"a"}
        server.stop(signal.SIGQUIT)
        put_windows(device, 5)
        device.send_spool()
        server.start()
        wait_until(lambda: device.send_spool() and not device.spool, 60)
        assert monitor.poll() is None
    finally:
        device.client.close()
        monitor.send_signal(signal.SIGINT)
        out, _ = monitor.communicate(timeout=60)
    assert monitor.returncode == 0, out
    opened = open_store(address)
    assert count_windows(opened, after=0) == {"a": 10}
    opened.close()
    assert not (project / ".fieldloop" / "fleet.db").exists()
    assert "tulip" not in out
