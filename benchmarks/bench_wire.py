"""The wire: what the monitor stores against a subscriber that only counts, and our encoding against JSON.

``FIELDLOOP_BENCH_RECORDS`` bounds the records of one round (9,000; the local broker keeps 10,000 for an absent client).
"""

import contextlib
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.bench_telemetry import (  # noqa: F401 - as below
    bench_an_hour_on_the_wire,
    tls_broker,
    tls_monitor,
)
from benchmarks.conftest import RecordRatio
from benchmarks.fleet_windows import make_records, make_window
from benchmarks.monitor_process import drain
from benchmarks.wire_costs import (  # noqa: F401 - as below
    bench_what_a_connect_and_a_window_cost,
    bench_what_an_update_costs,
    costs_broker,
    costs_store,
)
from benchmarks.wire_fleet import (  # noqa: F401 - run here, so that their figures are of this area
    bench_a_fleet_whose_broker_is_killed,
    bench_memory_of_a_device_in_a_monitor,
    fleet_broker,
    fleet_store,
)
from benchmarks.wire_floods import (  # noqa: F401 - as above
    bench_the_others_while_a_device_floods_as_fast_as_the_broker_reads,
    bench_the_others_while_a_device_floods_behind_our_rule_of_the_firewall,
    bench_the_others_while_a_device_floods_by_a_link_of_100_mbit,
)
from broker.client import Endpoint, WireClient
from broker.messages import Epoch, RecordKey, TelemetryWindow, encode_body, encode_record, parse
from broker.packs import pack_windows, parse_each, unpack
from broker.servers.local import start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import SHARDS, Channel, DeviceId, FleetId, Topic, shard_of
from edge_agent.clock import SystemClock
from trainer.monitoring.receiver import Monitor, filters_of
from trainer.monitoring.store import open_store, store_uri

RECORDS: Final = int(os.environ.get("FIELDLOOP_BENCH_RECORDS", "9000"))
ROUNDS: Final = 4
TOGETHER: Final = 3
DEVICES: Final = 90
SEED: Final = 1
FLEET: Final = FleetId("bench")
DEADLINE_S: Final = 120.0
KEY: Final = RecordKey(Epoch(7), 41, 40)

Message = tuple[Topic, bytes]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """A real Mosquitto, whose queue for absent clients lets both sides read the same backlog."""
    if find_mosquitto() is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    broker = start_local_broker(tmp_path / "broker", kind="mosquitto")
    yield broker.endpoint
    broker.stop()


@pytest.mark.timeout(600)
def bench_monitor_against_a_subscriber_that_only_counts(endpoint, tmp_path, record_ratio) -> None:
    name = "monitor into SQLite / subscriber that only counts"
    _compare_monitor(endpoint, tmp_path, record_ratio, _alone(RECORDS), RECORDS, name)


@pytest.mark.timeout(600)
def bench_monitor_reading_packs_against_a_subscriber_that_only_counts_them(endpoint, tmp_path, record_ratio) -> None:
    """The same in packs of three, as devices send them."""
    name = "monitor into SQLite, windows in packs / subscriber that only counts the packs"
    _compare_monitor(endpoint, tmp_path, record_ratio, _packed(RECORDS), RECORDS, name)


def _alone(n_records: int) -> list[Message]:
    return [
        (Topic(FLEET, device, Channel.TELEMETRY), encode_record(key, encode_body(window)))
        for device, key, window in make_records(n_records, DEVICES, SEED)
    ]


def _packed(n_records: int) -> list[Message]:
    by_device: dict[DeviceId, list[tuple[RecordKey, TelemetryWindow]]] = {}
    for device, key, window in make_records(n_records, DEVICES, SEED):
        by_device.setdefault(device, []).append((key, window))
    return [
        (Topic(FLEET, device, Channel.TELEMETRY), pack_windows(records[at : at + TOGETHER]))
        for device, records in by_device.items()
        for at in range(0, len(records), TOGETHER)
    ]


@pytest.mark.timeout(600)
def bench_records_into_decoded_structs_against_a_subscriber_that_only_counts(endpoint, record_ratio) -> None:
    _compare_decoding(endpoint, record_ratio, _alone(RECORDS), RECORDS, "records into decoded structs")


@pytest.mark.timeout(600)
def bench_packs_into_decoded_structs_against_a_subscriber_that_only_counts_them(endpoint, record_ratio) -> None:
    messages = _packed(RECORDS)
    _compare_decoding(endpoint, record_ratio, messages, RECORDS, "records into decoded structs, in packs of three")


@pytest.mark.timeout(600)
def bench_two_monitor_processes_against_one(endpoint, record_ratio) -> None:
    """Each owns half of the shards; the broker has a share of the two processors as well."""
    n_records = TOGETHER * RECORDS
    messages = _packed(n_records)
    of_half = [0, 0]
    for topic, payload in messages:
        of_half[int(shard_of(topic.device), 16) % 2] += len(unpack(topic.channel, payload))
    with _monitor(endpoint, 0, 1) as one, _monitor(endpoint, 0, 2) as even, _monitor(endpoint, 1, 2) as odd:
        sides = {"one": [(one, n_records)], "two": [(even, of_half[0]), (odd, of_half[1])]}
        for side in sides.values():
            _drain_together([(process, 0) for process, _ in side])
        taken: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}
        for turn in range(ROUNDS):
            _publish(endpoint, messages)
            for name in ("one", "two") if turn % 2 else ("two", "one"):
                taken[name].append(_drain_together(sides[name]))
    for at, by in ((0, ""), (1, ", by the processor time of the busier")):
        record_ratio(
            f"records into decoded structs, two processes on disjoint shards / one{by}",
            ours=n_records / statistics.median(each[at] for each in taken["two"]),
            peer=n_records / statistics.median(each[at] for each in taken["one"]),
            reach=1.6,
            unit="records/s",
            runs=ROUNDS,
            higher_is_better=True,
        )


@contextlib.contextmanager
def _monitor(endpoint: Endpoint, first: int, step: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.monitor_process", endpoint.host, str(endpoint.port), FLEET]
    command += [str(first), str(step)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _drain_together(side: Sequence[tuple[subprocess.Popen[str], int]]) -> tuple[float, float]:
    """Return the seconds from the first record that one of them has to the last, and the most processor time."""
    for process, expected in side:
        assert process.stdin is not None
        process.stdin.write(f"{expected}\n")
        process.stdin.flush()
    said: list[list[float]] = []
    for process, _ in side:
        assert process.stdout is not None
        said.append([float(each) for each in process.stdout.readline().split()])
    firsts_s, lasts_s, cpus_s = zip(*said, strict=True)
    return max(lasts_s) - min(firsts_s), max(cpus_s)


def _compare_decoding(
    endpoint: Endpoint, record_ratio: RecordRatio, messages: Sequence[Message], n_records: int, what: str
) -> None:
    def decoder(expected: int) -> float:
        start_s, _, last_s = drain(endpoint, "decoder", filters_of(FLEET, SHARDS), expected)
        return last_s - start_s

    name = f"{what} / subscriber that only counts"
    _compare(endpoint, record_ratio, messages, n_records, name, decoder)


def _compare_monitor(
    endpoint: Endpoint, folder: Path, record_ratio: RecordRatio, messages: Sequence[Message], n_records: int, name: str
) -> None:
    folders = itertools.count()

    def monitor(expected: int) -> float:
        return _drain_by_monitor(endpoint, folder / f"{next(folders)}.db", expected)

    _compare(endpoint, record_ratio, messages, n_records, name, monitor)


def _compare(
    endpoint: Endpoint,
    record_ratio: RecordRatio,
    messages: Sequence[Message],
    n_records: int,
    name: str,
    monitor: Callable[[int], float],
) -> None:
    def counter(expected: int) -> float:
        return _drain_by_counter(endpoint, expected)

    # Sessions first: from now on the broker keeps what comes while either is away.
    monitor(0)
    counter(0)
    times_s: dict[Callable[[int], float], list[float]] = {monitor: [], counter: []}
    for turn in range(ROUNDS):
        _publish(endpoint, messages)
        for side in (monitor, counter) if turn % 2 else (counter, monitor):
            times_s[side].append(side(n_records if side is monitor else len(messages)))
    record_ratio(
        name,
        ours=n_records / statistics.median(times_s[monitor]),
        peer=n_records / statistics.median(times_s[counter]),
        reach=0.7,
        unit="records/s",
        runs=ROUNDS,
        higher_is_better=True,
    )


def _publish(endpoint: Endpoint, messages: Sequence[Message]) -> None:
    publisher = WireClient(
        endpoint, "publisher", filters=(), on_delivery=lambda _: None, rng=random.Random(SEED), max_queued=100_000
    )
    publisher.start()
    _wait_until(lambda: publisher.is_connected)
    for topic, payload in messages[:-1]:
        publisher.publish(topic, payload)
    publisher.publish_and_wait(*messages[-1], timeout_s=DEADLINE_S)
    publisher.close()


def _drain_by_monitor(endpoint: Endpoint, database: Path, expected: int) -> float:
    """Return the seconds from connecting to the last commit."""
    store = open_store(store_uri(database))
    monitor = Monitor(endpoint, FLEET, store, clock=SystemClock(), rng=random.Random(SEED))
    start_s = time.perf_counter()
    monitor.start()
    _wait_until(lambda: monitor.client.is_connected and monitor.receiver.counts.stored >= expected)
    elapsed_s = time.perf_counter() - start_s
    monitor.close()
    store.close()
    return elapsed_s


def _drain_by_counter(endpoint: Endpoint, expected: int) -> float:
    """Return the seconds from connecting to the last message, for paho and an addition."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="counter", clean_session=False)
    counted = itertools.count(1)
    done, subscribed = threading.Event(), threading.Event()

    def count(*_: object) -> None:
        if next(counted) == expected:
            done.set()

    def subscribe(*_: object) -> None:
        client.subscribe([(each, 1) for each in filters_of(FLEET, SHARDS)])

    client.on_message = count
    client.on_connect = subscribe
    client.on_subscribe = lambda *_: subscribed.set()
    start_s = time.perf_counter()
    client.connect(endpoint.host, endpoint.port)
    client.loop_start()
    assert subscribed.wait(DEADLINE_S)
    assert expected == 0 or done.wait(DEADLINE_S)
    elapsed_s = time.perf_counter() - start_s
    client.disconnect()
    client.loop_stop()
    return elapsed_s


def _wait_until(predicate: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not predicate():
        assert time.monotonic() < deadline_s, "the other side did not do its part"
        time.sleep(0.002)


# --- encoding --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def json_median_us() -> dict[str, float]:
    """Filled by the peer's benchmark, read by ours: pytest-benchmark times one callable a function."""
    return {}


def bench_a_window_as_json_there_and_back(benchmark, json_median_us) -> None:
    plain = msgspec.to_builtins({"key": KEY, "body": _window()})

    def there_and_back() -> object:
        return json.loads(json.dumps(plain, separators=(",", ":")).encode())

    assert there_and_back() == json.loads(json.dumps(plain))
    benchmark(there_and_back)
    json_median_us["there and back"] = benchmark.stats.stats.median * 1e6


def bench_a_window_on_the_wire_there_and_back(benchmark, json_median_us, record_ratio) -> None:
    window = _window()

    def there_and_back() -> object:
        return parse(Channel.TELEMETRY, encode_record(KEY, encode_body(window)))

    assert there_and_back() == (KEY, window)
    benchmark(there_and_back)
    record_ratio(
        "a window there and back, version 1, checked / json of the standard library, unchecked",
        ours=benchmark.stats.stats.median * 1e6,
        peer=json_median_us["there and back"],
        reach=0.1,
        unit="us",
        runs=benchmark.stats.stats.rounds,
    )
    as_json = json.dumps(msgspec.to_builtins({"key": KEY, "body": window}), separators=(",", ":")).encode()
    for what, payload in (
        ("in a pack of its own", pack_windows([(KEY, window)])),
        ("in version 1", encode_record(KEY, encode_body(window))),
    ):
        record_ratio(
            f"bytes of a window {what} / as JSON of the same fields by position",
            ours=len(payload),
            peer=len(as_json),
            reach=0.35,
            unit="bytes",
            runs=1,
        )


def bench_a_window_in_a_pack_there_and_back(benchmark, json_median_us, record_ratio) -> None:
    """Packed, unpacked again by the sender to compare, and read by the receiver: what really happens to a window."""
    window = _window()

    def there_and_back() -> object:
        return parse_each(Channel.TELEMETRY, pack_windows([(KEY, window)]))

    ((key, body, _),) = parse_each(Channel.TELEMETRY, pack_windows([(KEY, window)]))
    assert (key, body) == (KEY, window)
    benchmark(there_and_back)
    record_ratio(
        "a window there and back, in a pack, checked on both sides / json of the standard library, unchecked",
        ours=benchmark.stats.stats.median * 1e6,
        peer=json_median_us["there and back"],
        reach=0.1,
        unit="us",
        runs=benchmark.stats.stats.rounds,
    )


def _window():
    return make_window(np.random.default_rng(SEED), 3)
