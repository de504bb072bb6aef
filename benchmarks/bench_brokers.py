"""Mosquitto and a NATS cluster of three beside each other: messages, time to connect, memory with a fleet's sessions.

Both as `fieldloop broker render` configures them, with the same certificates, on this one machine: the three nodes of
the cluster share its cores, so the ratios are those of the work, not of three machines. ``FIELDLOOP_BENCH_LINKS``
bounds the devices (250).
"""

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from benchmarks.conftest import RecordRatio
from broker import frames
from broker.client import Endpoint
from broker.identity.names import Role
from broker.servers.bare_client import BareClient
from broker.servers.mosquitto import find_mosquitto
from broker.servers.nats import find_nats_server
from broker.topics import Channel, DeviceId, FleetId, Topic, device_filters
from tests.fleet_broker import Credentials, TestFleet
from tests.nats_nodes import Nodes, running_nodes

FLEET: Final = FleetId("plant")
LINKS: Final = int(os.environ.get("FIELDLOOP_BENCH_LINKS", "250"))
MESSAGES: Final = 1000
IN_FLIGHT: Final = 100
ROUNDS: Final = 3
ALONE: Final = 20
AT_ONCE: Final = 30
PAYLOAD: Final = bytes(370)


@pytest.fixture
def fleet(tmp_path: Path) -> TestFleet:
    return TestFleet(tmp_path, FLEET)


@pytest.fixture
def issued(fleet: TestFleet) -> list[tuple[DeviceId, Credentials]]:
    names = [DeviceId(f"press-{n}") for n in range(LINKS)]
    return [(name, fleet.issue(Role.DEVICE, name)) for name in names]


@pytest.fixture
def nodes(fleet: TestFleet, issued: list[tuple[DeviceId, Credentials]]) -> Iterator[Nodes]:
    """Start the cluster once the devices have identities: its nodes read them at their start."""
    assert len(issued) == LINKS
    if find_nats_server() is None or find_mosquitto() is None:
        pytest.skip("no nats-server or no mosquitto here: sudo apt-get install nats-server mosquitto")
    with running_nodes(fleet) as running:
        yield running


@pytest.mark.timeout(300)
def bench_a_cluster_against_mosquitto(
    fleet: TestFleet, issued: list[tuple[DeviceId, Credentials]], nodes: Nodes, record_ratio: RecordRatio
) -> None:
    """QoS 1 of one device, then a fleet of links with sessions, and what the brokers hold for them."""
    with fleet.broker(max_connections=LINKS + 10) as mosquitto:
        sides: list[tuple[list[Endpoint], list[int]]] = [
            (nodes.endpoints, [broker.pid for broker in nodes.running.values()]),
            ([mosquitto.process.endpoint], [mosquitto.process.pid]),
        ]
        rates: list[list[float]] = [[], []]
        for turn in range(ROUNDS):
            for side in (0, 1) if turn % 2 else (1, 0):
                rates[side].append(_rate(sides[side][0][0], *issued[0], turn))
        nats, peer = (statistics.median(each) for each in rates)
        record_ratio(
            "QoS 1 messages of one device: NATS with 3 replicas / Mosquitto",
            ours=nats,
            peer=peer,
            reach=0.1,
            unit="messages/s",
            runs=ROUNDS,
            higher_is_better=True,
        )
        empty = [_memory_bytes(pids) for _, pids in sides]
        connect_ms: list[float] = []
        links: list[BareClient] = []
        for endpoints, _ in sides:
            work = [(endpoints[n % len(endpoints)], *who) for n, who in enumerate(issued)]
            # One after the other, as a fleet does on a quiet day; the rest at once, to hold as many as there are.
            first = [_device(*each) for each in work[:ALONE]]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                rest = list(pool.map(lambda each: _device(*each), work[ALONE:]))
            connect_ms.append(1000 * statistics.median(taken_s for _, taken_s in first))
            links += [link for link, _ in (*first, *rest)]
        held = [(_memory_bytes(pids) - before) / LINKS / 1024 for (_, pids), before in zip(sides, empty, strict=True)]
        for link in links:
            link.cut()
    record_ratio(
        "connect with TLS, a session and three subscriptions: NATS / Mosquitto",
        ours=connect_ms[0],
        peer=connect_ms[1],
        reach=20.0,
        unit="ms",
        runs=ALONE,
    )
    record_ratio(
        "memory for a device: three NATS nodes together / Mosquitto",
        ours=held[0],
        peer=held[1],
        reach=20.0,
        unit="KiB",
        runs=LINKS,
    )


def _device(endpoint: Endpoint, name: DeviceId, credentials: Credentials) -> tuple[BareClient, float]:
    """Connect and subscribe as an agent does, orders with QoS 1, marks with QoS 0; return how long it took too."""
    start_s = time.perf_counter()
    link = BareClient(endpoint, f"{FLEET}.{name}", tls=credentials.context(), clean=False, timeout_s=60)
    for topic_filter in device_filters(FLEET, name):
        link.subscribe(topic_filter, 0 if topic_filter.endswith(Channel.STORED.value) else 1)
    return link, time.perf_counter() - start_s


def _rate(endpoint: Endpoint, name: DeviceId, credentials: Credentials, turn: int) -> float:
    """Return QoS 1 messages a second of one link that lets so many wait for their acknowledgement."""
    link = BareClient(endpoint, f"rate-{turn}", tls=credentials.context(), timeout_s=60)
    topic = str(Topic(FLEET, name, Channel.TELEMETRY)).encode()
    raw = link._socket  # noqa: SLF001 - a pipeline: the bare client waits for each acknowledgement
    start_s = time.perf_counter()
    sent = acknowledged = waiting = 0
    while acknowledged < MESSAGES:
        batch = bytearray()
        while sent < MESSAGES and sent - acknowledged < IN_FLIGHT:
            sent += 1
            batch += frames.publish(topic, PAYLOAD, sent, retained=False)
        if batch:
            raw.sendall(batch)
        waiting += len(raw.recv(1 << 16))
        acknowledged += waiting // 4
        waiting %= 4
    elapsed_s = time.perf_counter() - start_s
    link.cut()
    return MESSAGES / elapsed_s


def _memory_bytes(pids: list[int]) -> int:
    """Return what processes hold of memory that is theirs alone."""
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(("Private_Clean", "Private_Dirty")):
                found += int(line.split()[1]) * 1024
    return found
