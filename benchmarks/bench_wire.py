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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from benchmarks.bench_telemetry import (  # noqa: F401 - as below
    bench_an_hour_on_the_wire,
    tls_broker,
    tls_monitor,
)
from benchmarks.conftest import RecordRatio
from benchmarks.fleet_windows import make_records, make_window
from benchmarks.monitor_process import drain
from benchmarks.paho_counter import count
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
from broker.packs import pack_windows, parse_records
from broker.servers.local import LocalBroker, start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import SHARDS, Channel, DeviceId, FleetId, Topic, shard_of
from edge_agent.clock import SystemClock
from trainer.monitoring.receiver import Monitor, filters_of
from trainer.monitoring.store import open_store, store_uri

RECORDS: Final = int(os.environ.get("FIELDLOOP_BENCH_RECORDS", "9000"))
ROUNDS: Final = 4
TOGETHER: Final = 3
DEVICES: Final = 90
MADE_UP: Final = tuple(DeviceId(f"device-{number:03}") for number in range(DEVICES))
SEED: Final = 1
FLEET: Final = FleetId("bench")
DEADLINE_S: Final = 120.0
KEY: Final = RecordKey(Epoch(7), 41, 40)

Message = tuple[Topic, bytes]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """A real Mosquitto, whose queue for absent clients lets both sides read the same backlog."""
    if find_mosquitto() is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    started = start_local_broker(tmp_path / "broker", kind="mosquitto")
    yield started
    started.stop()


@pytest.fixture
def endpoint(broker: LocalBroker) -> Endpoint:
    """Where it listens."""
    return broker.endpoint


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
        for device, key, window in make_records(n_records, MADE_UP, SEED)
    ]


def _packed(n_records: int, devices: Sequence[DeviceId] = MADE_UP) -> list[Message]:
    by_device: dict[DeviceId, list[tuple[RecordKey, TelemetryWindow]]] = {}
    for device, key, window in make_records(n_records, devices, SEED):
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
def bench_two_monitor_processes_against_one(broker, record_ratio) -> None:
    """Each owns half of the shards with half of the devices; the broker has a share of the processors as well."""
    messages = _packed(TOGETHER * RECORDS, _devices_by_halves())
    one, two = _drain_by_one_and_by_two(broker, "structs", messages, TOGETHER * RECORDS)
    name = "records into decoded structs, two processes on disjoint shards / one"
    _record_two(record_ratio, name, one.elapsed_s, two.elapsed_s, reach=1.6)
    _record_two(record_ratio, f"{name}, by the processor time of the busier", one.busiest_s, two.busiest_s, reach=1.6)
    # One process has a processor to itself, and the broker the other; two share both with it.
    name = "for comparison: what the broker leaves of two processors to two such processes / one"
    _record_two(record_ratio, name, one.busiest_s, (two.together_s + two.broker_s) / 2, reach=0.0)


@pytest.mark.timeout(600)
def bench_two_processes_that_only_count_against_one(broker, record_ratio) -> None:
    """What two readers reach here that have nothing to do with each other, or with us."""
    messages = _packed(TOGETHER * RECORDS, _devices_by_halves())
    one, two = _drain_by_one_and_by_two(broker, "paho", messages, len(messages))
    name = "for comparison: windows in packs counted by paho, two processes on disjoint shards / one"
    _record_two(record_ratio, name, one.elapsed_s, two.elapsed_s, reach=0.0)


def _devices_by_halves() -> list[DeviceId]:
    """Return devices of which half are in each half of the shards, as of a fleet's thousands nearly half are."""
    halves: tuple[list[DeviceId], list[DeviceId]] = ([], [])
    for number in itertools.count():
        device = DeviceId(f"device-{number:03}")
        half = halves[int(shard_of(device), 16) % 2]
        if len(half) < DEVICES // 2:
            half.append(device)
        elif all(len(each) == DEVICES // 2 for each in halves):
            return [device for pair in zip(*halves, strict=True) for device in pair]
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Taken:
    """What one side took to read a backlog, in seconds.

    Attributes:
        elapsed_s: from the first record that one of its processes has to the last.
        busiest_s: processor time of the busier process.
        together_s: processor time of its processes.
        broker_s: processor time of the broker meanwhile.
    """

    elapsed_s: float
    busiest_s: float
    together_s: float
    broker_s: float


def _drain_by_one_and_by_two(
    broker: LocalBroker, reader: str, messages: Sequence[Message], expected: int
) -> tuple[Taken, Taken]:
    """Return the medians of one process and of two."""
    with (
        _monitor(broker.endpoint, reader, 0, 1) as one,
        _monitor(broker.endpoint, reader, 0, 2) as even,
        _monitor(broker.endpoint, reader, 1, 2) as odd,
    ):
        sides = ([(one, expected)], [(even, expected // 2), (odd, expected // 2)])
        for side in sides:
            _drain_together(broker.pid, [(process, 0) for process, _ in side])
        taken: tuple[list[Taken], list[Taken]] = ([], [])
        for turn in range(ROUNDS):
            _publish(broker.endpoint, messages)
            for which in (0, 1) if turn % 2 else (1, 0):
                taken[which].append(_drain_together(broker.pid, sides[which]))
    return _median(taken[0]), _median(taken[1])


def _median(taken: Sequence[Taken]) -> Taken:
    return Taken(*(statistics.median(values) for values in zip(*map(astuple, taken), strict=True)))


def _record_two(record_ratio: RecordRatio, name: str, one_s: float, two_s: float, *, reach: float) -> None:
    record_ratio(
        name,
        ours=TOGETHER * RECORDS / two_s,
        peer=TOGETHER * RECORDS / one_s,
        reach=reach,
        unit="records/s",
        runs=ROUNDS,
        higher_is_better=True,
    )


@contextlib.contextmanager
def _monitor(endpoint: Endpoint, reader: str, first: int, step: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.monitor_process", reader, endpoint.host, str(endpoint.port)]
    command += [FLEET, str(first), str(step)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _drain_together(broker_pid: int, side: Sequence[tuple[subprocess.Popen[str], int]]) -> Taken:
    before_s = _processor_s(broker_pid)
    for process, expected in side:
        assert process.stdin is not None
        process.stdin.write(f"{expected}\n")
        process.stdin.flush()
    said: list[list[float]] = []
    for process, _ in side:
        assert process.stdout is not None
        said.append([float(each) for each in process.stdout.readline().split()])
    firsts_s, lasts_s, cpus_s = zip(*said, strict=True)
    elapsed_s = max(lasts_s) - min(firsts_s)
    return Taken(elapsed_s, max(cpus_s), sum(cpus_s), _processor_s(broker_pid) - before_s)


def _processor_s(pid: int) -> float:
    """Return the processor time of a process of one thread: the kernel's Documentation/scheduler/sched-stats.rst."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


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
    times_s: dict[Callable[[int], float], list[tuple[float, float]]] = {monitor: [], counter: []}
    for turn in range(ROUNDS):
        _publish(endpoint, messages)
        for side in (monitor, counter) if turn % 2 else (counter, monitor):
            before_s = time.process_time()
            elapsed_s = side(n_records if side is monitor else len(messages))
            times_s[side].append((elapsed_s, time.process_time() - before_s))
    for at, by in ((0, ""), (1, ", by processor time")):
        record_ratio(
            f"{name}{by}",
            ours=n_records / statistics.median(each[at] for each in times_s[monitor]),
            peer=n_records / statistics.median(each[at] for each in times_s[counter]),
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
    """Return the seconds from connecting to the last message."""
    start_s, _, last_s = count(endpoint, "counter", filters_of(FLEET, SHARDS), expected)
    return last_s - start_s


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
    record_ratio(
        "bytes of a window in version 1 / as JSON of the same fields by position",
        ours=len(encode_record(KEY, encode_body(window))),
        peer=len(as_json),
        reach=0.35,
        unit="bytes",
        runs=1,
    )


def bench_windows_in_a_pack_there_and_back(benchmark, json_median_us, record_ratio) -> None:
    """Packed, unpacked again by the sender to compare, and read by the receiver: what really happens to a window."""
    rng = np.random.default_rng(SEED)
    records = [
        (RecordKey(KEY.epoch, KEY.sequence + at, KEY.previous + at), make_window(rng, at)) for at in range(TOGETHER)
    ]

    def there_and_back() -> object:
        return parse_records(Channel.TELEMETRY, pack_windows(records))

    assert there_and_back() == records
    benchmark(there_and_back)
    record_ratio(
        "a window there and back, in a pack of three, checked on both sides / json of the standard library, unchecked",
        ours=benchmark.stats.stats.median * 1e6 / TOGETHER,
        peer=json_median_us["there and back"],
        reach=0.1,
        unit="us",
        runs=benchmark.stats.stats.rounds,
    )
    as_json = json.dumps(msgspec.to_builtins([*records[0]]), separators=(",", ":")).encode()
    record_ratio(
        "bytes of a window in a pack of three / as JSON of the same fields by position",
        ours=len(pack_windows(records)) / TOGETHER,
        peer=len(as_json),
        reach=0.35,
        unit="bytes",
        runs=1,
    )


def _window():
    return make_window(np.random.default_rng(SEED), 3)
