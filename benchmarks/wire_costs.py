"""What one device costs: what the capacity sheet of docs/scale.md multiplies (`benchmarks.capacity`).

Run by bench_wire.py. Processor times are counted by the kernel for the one process, so that other work on the machine
changes them little. Each is recorded against what it may be at most for the sheet's plan to hold.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import pytest
from sqlalchemy import text

from benchmarks.conftest import RecordRatio
from benchmarks.fleet_broker import FleetBroker, describe_broker
from benchmarks.fleet_certificates import write_certificates
from benchmarks.fleet_load import FLEET, name_of
from benchmarks.small_bundles import make_bundle
from broker.servers.mosquitto import find_mosquitto
from edge_agent.bundle import MANIFEST_NAME
from edge_agent.clock import SystemClock
from tests.waiting import wait_until
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri

CONNECT: Final = "processor time of Mosquitto for a connect with TLS / 5 ms"
WINDOW_IN_BROKER: Final = "processor time of Mosquitto for a window and its mark / 250 us"
WINDOW_IN_MONITOR: Final = "processor time of a monitor for a window, into SQLite, with its mark / 1,000 us"
WINDOW_IN_DATABASE: Final = "a window in the database / 2 KiB"
UPDATE: Final = "an update, manifest and a forest of 100 trees as native / 150 kB"

DEVICES: Final = min(600, int(os.environ.get("FIELDLOOP_BENCH_DEVICES", "600")))
NEVER_S: Final = 1e6
# A monitor is planned for hundreds of windows a second: what comes together is stored together.
WINDOW_S: Final = 1.0
WINDOWS: Final = 10 * DEVICES
DEADLINE_S: Final = 120.0
SEED: Final = 5
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_QUIET_S: Final = 1.0


@pytest.fixture
def costs_broker(tmp_path: Path) -> Iterator[FleetBroker]:
    """A Mosquitto for some hundred devices."""
    if find_mosquitto() is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    write_certificates(tmp_path, (name_of(number) for number in range(DEVICES)))
    described = describe_broker(tmp_path)
    described.start()
    yield described
    described.kill()


@pytest.fixture
def costs_store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    opened = open_store(store_uri(tmp_path / "costs.db"))
    yield opened
    opened.close()


@pytest.mark.timeout(600)
def bench_what_a_connect_and_a_window_cost(
    costs_broker: FleetBroker, costs_store: Store, record_ratio: RecordRatio
) -> None:
    monitor = Monitor(costs_broker.monitors, FLEET, costs_store, clock=SystemClock(), rng=random.Random(SEED))
    monitor.start()
    wait_until(lambda: monitor.client.is_connected, DEADLINE_S)
    before_s = _processor_s(costs_broker)
    with _Load(costs_broker, NEVER_S) as load:
        load.wait_until_up()
        time.sleep(_QUIET_S)
        connect_s = (_processor_s(costs_broker) - before_s) / DEVICES
    with _Load(costs_broker, WINDOW_S) as load:
        load.wait_until_up()
        time.sleep(_QUIET_S)
        stored, size_bytes = monitor.receiver.counts.stored, _size_bytes(costs_store)
        broker_s, monitor_s = _processor_s(costs_broker), time.process_time()
        wait_until(lambda: monitor.receiver.counts.stored - stored >= WINDOWS, DEADLINE_S)
        monitor_s = time.process_time() - monitor_s
        broker_s = _processor_s(costs_broker) - broker_s
        windows = monitor.receiver.counts.stored - stored
        size_bytes = _size_bytes(costs_store) - size_bytes
    monitor.close()
    for name, ours, peer, unit, runs in (
        (CONNECT, 1e3 * connect_s, 5.0, "ms", DEVICES),
        (WINDOW_IN_BROKER, 1e6 * broker_s / windows, 250.0, "us", windows),
        (WINDOW_IN_MONITOR, 1e6 * monitor_s / windows, 1000.0, "us", windows),
        (WINDOW_IN_DATABASE, size_bytes / windows, 2048.0, "bytes", windows),
    ):
        record_ratio(name, ours=ours, peer=peer, reach=1.0, unit=unit, runs=runs)


def bench_what_an_update_costs(tmp_path: Path, record_ratio: RecordRatio) -> None:
    """A device fetches the manifest and the one variant that it runs."""
    bundle = make_bundle("digits", "forest", "native", tmp_path)
    files = (MANIFEST_NAME, *(variant.file for variant in bundle.manifest.variants))
    fetched_bytes = sum((bundle.folder / file).stat().st_size for file in files)
    record_ratio(UPDATE, ours=fetched_bytes, peer=150_000, reach=1.0, unit="bytes", runs=1)


class _Load:
    """Devices, until the block ends."""

    def __init__(self, broker: FleetBroker, window_s: float) -> None:
        command = [sys.executable, "-m", "benchmarks.fleet_load", broker.devices.host, str(broker.devices.port)]
        command += [str(broker.folder), str(DEVICES), str(window_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_until_up(self) -> None:
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline())["up"] == DEVICES

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("\n", DEADLINE_S)


def _processor_s(broker: FleetBroker) -> float:
    """Return what the broker has had of processors, in its own code and in the kernel for it (proc(5), stat)."""
    assert broker.process is not None
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _size_bytes(store: Store) -> int:
    with store.reading() as connection:
        pages, page_bytes = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
        )
    return int(pages) * int(page_bytes)
