"""A fleet on one Mosquitto: thousands of links by TLS, a broker that is killed, and what a device costs.

Run by bench_wire.py. ``FIELDLOOP_BENCH_DEVICES`` bounds the fleet (5,000). It takes three to six minutes.
"""

import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from msgspec import structs

from benchmarks.fleet_broker import FleetBroker, describe_broker
from benchmarks.fleet_certificates import write_certificates
from benchmarks.fleet_load import FLEET, name_of
from benchmarks.fleet_windows import make_window
from broker import frames
from broker.client import Delivery, Endpoint, WireClient
from broker.frames import FrameReader
from broker.messages import Epoch, RecordKey, Status, encode, encode_body, encode_record
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, Topic
from edge_agent.clock import SystemClock
from trainer.monitoring.fleet import intake_totals
from trainer.monitoring.intake import Intake
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri

LINK_MEMORY: Final = "memory of Mosquitto a connected device with TLS / 64 KiB, printed"
DEVICE_MEMORY: Final = "memory of a device in a monitor / 4 KB"

DEVICES: Final = int(os.environ.get("FIELDLOOP_BENCH_DEVICES", "5000"))
WINDOW_S: Final = 60.0
REACH_DEVICES: Final = 5000
BACK_WITHIN_S: Final = 180.0
MOST_BYTES_IN_MONITOR: Final = 4096
SEED: Final = 3
FEW: Final = 1000
MANY: Final = 5000
AT_A_TIME: Final = 500


@pytest.fixture
def fleet_broker(tmp_path: Path) -> Iterator[FleetBroker]:
    """A Mosquitto that knows every device by its certificate."""
    if find_mosquitto() is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    write_certificates(tmp_path, (name_of(number) for number in range(DEVICES)))
    described = describe_broker(tmp_path)
    described.start()
    yield described
    described.kill()


@pytest.fixture
def fleet_store(tmp_path: Path) -> Iterator[Store]:
    """The fleet's database."""
    opened = open_store(store_uri(tmp_path / "fleet.db"))
    yield opened
    opened.close()


@pytest.mark.timeout(1200)
def bench_a_fleet_whose_broker_is_killed(fleet_broker, fleet_store, record_ratio) -> None:
    """All links are made, the broker is killed without a word, all come back, and every window is stored once."""
    monitor = Monitor(fleet_broker.monitors, FLEET, fleet_store, clock=SystemClock(), rng=random.Random(SEED))
    monitor.start()
    idle_bytes = fleet_broker.resident_bytes()
    command = [sys.executable, "-m", "benchmarks.fleet_load", fleet_broker.devices.host, str(fleet_broker.devices.port)]
    command += [str(fleet_broker.folder), str(DEVICES), str(WINDOW_S)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        assert json.loads(load.stdout.readline())["up"] == DEVICES
        time.sleep(WINDOW_S / 2)
        linked_bytes = fleet_broker.resident_bytes() - idle_bytes
        fleet_broker.kill()
        assert json.loads(load.stdout.readline())["up"] == 0
        start_s = time.monotonic()
        fleet_broker.start()
        assert json.loads(load.stdout.readline())["up"] == DEVICES
        back_s = time.monotonic() - start_s
        time.sleep(WINDOW_S)
        load.stdin.write("\n")
        load.stdin.flush()
        end = json.loads(load.stdout.readline())
    monitor.close()
    stored = intake_totals(fleet_store).records
    assert end["kept"] == 0
    record_ratio(
        "devices with TLS and a window a minute, held on one Mosquitto / 5,000",
        ours=DEVICES,
        peer=REACH_DEVICES,
        reach=1.0,
        unit="devices",
        runs=1,
        higher_is_better=True,
    )
    record_ratio(
        "until all of them are back after the broker was killed / 3 minutes",
        ours=back_s,
        peer=BACK_WITHIN_S,
        reach=1.0,
        unit="s",
        runs=1,
    )
    record_ratio(
        "their windows that are stored / sent, over the broker's death",
        ours=stored,
        peer=end["sent"],
        reach=1.0,
        unit="records",
        runs=1,
        higher_is_better=True,
    )
    record_ratio(
        LINK_MEMORY,
        ours=linked_bytes / DEVICES,
        peer=1 << 16,
        reach=1.0,
        unit="bytes",
        runs=1,
    )


def bench_memory_of_a_device_in_a_monitor(fleet_store, record_ratio) -> None:
    """What a monitor holds of each device that it has heard: its place in the stream, what it runs, its topics."""
    rng = np.random.default_rng(SEED)
    record = encode_record(RecordKey(Epoch(7), 1, 0), encode_body(structs.replace(make_window(rng, 1), features=())))
    status = encode(Status(online=True, at_utc_s=0.0, boot_id="b", agent_version="1"))
    intake = Intake(fleet_store, SystemClock())
    waiting: list[Delivery] = []
    client = WireClient(
        Endpoint("127.0.0.1", 0), "monitor", filters=(), on_delivery=waiting.append, rng=random.Random(SEED)
    )
    held_bytes: list[int] = []
    tracemalloc.start()
    for first, last in ((0, FEW), (FEW, MANY)):
        for start in range(first, last, AT_A_TIME):
            for number in range(start, start + AT_A_TIME):
                for channel, payload in ((Channel.TELEMETRY, record), (Channel.STATUS, status)):
                    topic = str(Topic(FLEET, name_of(number), channel)).encode()
                    packet = frames.publish(topic, payload, 1, retained=False)
                    ((byte, body),) = FrameReader(len(packet)).feed(packet)
                    # As the network thread does.
                    client._handle_message(byte, body)  # noqa: SLF001
            intake.take(waiting)
            waiting.clear()
        held_bytes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    record_ratio(
        DEVICE_MEMORY,
        ours=(held_bytes[1] - held_bytes[0]) / (MANY - FEW),
        peer=MOST_BYTES_IN_MONITOR,
        reach=1.0,
        unit="bytes",
        runs=1,
    )
