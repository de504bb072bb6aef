"""What a device with a good certificate sends, and is a lie: refused or contained, whichever the broker."""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from broker.client import Endpoint
from broker.errors import LinkError
from broker.frames import encode_length, packet, text
from broker.identity.names import Role
from broker.messages import BundleRef, Event, RecordKey, encode_body, encode_record
from broker.servers.bare_client import BareClient
from broker.servers.mosquitto import find_mosquitto
from broker.servers.nats import find_nats_server
from broker.topics import SHARDS, Channel, DeviceId, FleetId, Topic, shard_of
from tests.fleet_broker import CLOCK, Credentials, TestFleet
from tests.nats_nodes import running_nodes
from tests.waiting import wait_until
from trainer.monitoring.device_alerts import DeviceAlerts
from trainer.monitoring.fleet import refused_by_device
from trainer.monitoring.floods import FloodReports
from trainer.monitoring.rates import RateLimit
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri

if TYPE_CHECKING:
    from trainer.monitoring.alerts import Alert

PLANT = FleetId("plant")
EVIL, GOOD = DeviceId("press-1"), DeviceId("press-2")
LIMIT = RateLimit(messages_per_s=1000, burst_messages=500)
CONNECT_S = 30.0
MARK_S = 30.0
_epochs = itertools.count(1)
_links = itertools.count(1)


def topic_of(device: str, channel: Channel) -> str:
    return str(Topic(PLANT, DeviceId(device), channel))


def event(epoch: int, sequence: int, *, previous: int | None = None, at_utc_s: float = 1e9) -> bytes:
    key = RecordKey(epoch, sequence, sequence - 1 if previous is None else previous)
    return encode_record(key, encode_body(Event("note", at_utc_s, "info", "", BundleRef("quality", 1))))


@dataclass(frozen=True, slots=True)
class Plant:
    """A broker with identities, and the certificates of those who take part."""

    kind: str
    endpoints: Callable[[], list[Endpoint]]
    evil: Credentials
    good: Credentials
    trainer: Credentials

    def link(self, who: Credentials) -> BareClient:
        """Connect; at a cluster, to one node after the other."""
        number, endpoints = next(_links), self.endpoints()
        name = f"{who.certificate.stem}-{number}"
        return BareClient(endpoints[number % len(endpoints)], name, tls=who.context(), timeout_s=20)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            "mosquitto",
            marks=[
                pytest.mark.mosquitto,
                pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto"),
            ],
        ),
        pytest.param(
            "nats",
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(180),
                pytest.mark.skipif(find_nats_server() is None, reason="no nats-server: apt-get install nats-server"),
            ],
        ),
    ],
)
def plant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    fleet = TestFleet(tmp_path_factory.mktemp("plant"))
    people = (fleet.issue(Role.DEVICE, EVIL), fleet.issue(Role.DEVICE, GOOD), fleet.issue(Role.TRAINER, "loop"))
    if request.param == "nats":
        with running_nodes(fleet) as nodes:
            yield Plant("nats", lambda: nodes.endpoints, *people)
    else:
        with fleet.broker() as broker:
            yield Plant("mosquitto", lambda: [broker.process.endpoint], *people)


@pytest.fixture
def evil(plant: Plant) -> Iterator[BareClient]:
    with plant.link(plant.evil) as client:
        yield client


@dataclass(frozen=True, slots=True)
class Watched:
    """A monitor that takes in what the plant's devices send; what came before it is not counted."""

    monitor: Monitor
    store: Store
    troubles: DeviceAlerts

    def stored(self) -> int:
        return self.monitor.receiver.counts.stored

    def refused(self, device: DeviceId) -> int:
        return refused_by_device(self.store).get(device, 0)

    def told(self) -> list[tuple[str, str]]:
        return [(alert.kind, alert.scope) for alert in self.troubles.look(self.monitor.client.refused_topics)]


@pytest.fixture
def watched(plant: Plant, tmp_path) -> Iterator[Watched]:
    store = open_store(store_uri(tmp_path / "fleet.db"))
    tls = plant.trainer.context()
    monitor = Monitor(plant.endpoints()[0], PLANT, store, clock=CLOCK, rng=random.Random(1), tls=tls, limit=LIMIT)
    monitor.start()
    wait_until(lambda: monitor.client.is_connected, CONNECT_S)
    yield Watched(monitor, store, DeviceAlerts(store, CLOCK))
    monitor.close()
    store.close()


def verify_that_the_good_one_is_stored(plant: Plant) -> None:
    """Another device's record is stored and marked, whatever the evil one did."""
    epoch = 1_000_000 + next(_epochs)
    with plant.link(plant.good) as good:
        good.subscribe(topic_of(GOOD, Channel.STORED), 0)
        good.publish(topic_of(GOOD, Channel.EVENTS), event(epoch, 1))
        while (mark := good.take(MARK_S)) is not None:
            if msgspec.msgpack.decode(mark.payload[1:])[0] == epoch:
                return
    raise AssertionError("no mark came for the other device's record")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x07unknown version",
        b"\x01" + b"\x91" * 200_000,
        b"\x01" + b"\x81\xa1a" * 2_000,
        b"\x01\x92\x93\x01\x01\x00" + b"\x91" * 4_000,
        b"\x01\xdd\xff\xff\xff\xff",
        b"\x01\xdb\xff\xff\xff\xff",
        b"\x01\xc7\xff\x01" + b"\x00" * 255,
        b"\x02" + b"\xff" * 4_000,
        b"\x01\x92\x93\x01\x01\x00\x96\xa4\xff\xfe\xfd\xfc",
    ],
    ids=[
        "empty",
        "unknown version",
        "deep",
        "deep maps",
        "deep body",
        "4 G array",
        "4 GB text",
        "an extension",
        "no pack",
        "text that is not UTF-8",
    ],
)
def test_a_payload_that_is_no_message_is_counted_told_and_harms_nobody(plant, evil, watched, payload):
    channel = Channel.TELEMETRY if payload[:1] == b"\x02" or len(payload) > 8192 else Channel.EVENTS
    evil.publish(topic_of(EVIL, channel), payload)
    wait_until(lambda: watched.refused(EVIL) == 1, what="the monitor has counted it")
    assert watched.refused(GOOD) == 0
    assert watched.told() == [("messages_refused", f"device:{EVIL}")]
    verify_that_the_good_one_is_stored(plant)


def test_records_that_are_replayed_are_stored_once(plant, evil, watched):
    epoch = next(_epochs)
    for _ in range(3):
        for sequence in (1, 2, 3):
            evil.publish(topic_of(EVIL, Channel.EVENTS), event(epoch, sequence))
    wait_until(lambda: watched.monitor.receiver.counts.resent == 6)
    assert watched.stored() == 3
    verify_that_the_good_one_is_stored(plant)


def test_a_record_of_another_device_that_is_replayed_under_ones_own_name_stays_ones_own(plant, evil, watched):
    """Records are named by the topic's device, which the broker has compared with the certificate."""
    epoch = next(_epochs)
    with plant.link(plant.good) as good:
        good.publish(topic_of(GOOD, Channel.EVENTS), event(epoch, 1))
    evil.publish(topic_of(EVIL, Channel.EVENTS), event(epoch, 1))
    wait_until(lambda: watched.stored() == 2, what="each has a record of its own")
    assert watched.monitor.receiver.counts.resent == 0


@pytest.mark.parametrize(
    ("sequence", "previous", "at_utc_s"),
    [(2**53, 0, 1e9), (1, 2**53, 1e9), (5, 5, 1e9), (1, 0, 1e12), (1, 0, -1e12), (2**53, 2**53 - 1, 0.0)],
)
def test_lies_about_sequence_and_time_harm_the_liar_alone(plant, evil, watched, sequence, previous, at_utc_s):
    told = event(next(_epochs), sequence, previous=previous, at_utc_s=at_utc_s)
    evil.publish(topic_of(EVIL, Channel.EVENTS), told)
    wait_until(lambda: watched.stored() + watched.refused(EVIL) == 1)
    verify_that_the_good_one_is_stored(plant)


def test_a_number_that_no_record_can_have_is_refused(evil, watched):
    for key in ([2**40, 1, 0], [1, 2**60, 0], [1, 0, 0], [1, -1, 0], ["a", 1, 0]):
        body = msgspec.msgpack.decode(event(1, 1)[1:])[1]
        evil.publish(topic_of(EVIL, Channel.EVENTS), b"\x01" + msgspec.msgpack.encode([key, body]))
    wait_until(lambda: watched.refused(EVIL) == 5)
    assert watched.stored() == 0


def test_its_own_name_under_a_false_shard_is_dropped_and_where_the_rules_let_it_through_told(plant, evil, watched):
    true, false = shard_of(EVIL), next(shard for shard in SHARDS if shard != shard_of(EVIL))
    evil.publish(topic_of(EVIL, Channel.EVENTS).replace(f"/{true}/", f"/{false}/"), event(next(_epochs), 1))
    verify_that_the_good_one_is_stored(plant)
    # Mosquitto's rules are patterns, in which no hash can stand; NATS has a list of every device's topics.
    passed = plant.kind == "mosquitto"
    assert watched.monitor.client.refused_topics == int(passed)
    assert watched.told() == ([("topics_refused", "fleet")] if passed else [])
    assert watched.stored() == 1


def test_256_mb_that_are_announced_harm_nobody(plant, evil, watched):
    """Mosquitto ends the link at once; NATS waits for what comes, and keeps no more than has come."""
    head = text(topic_of(EVIL, Channel.EVENTS).encode()) + b"\x00\x01"
    with contextlib.suppress(LinkError):
        evil.send_raw(b"\x32" + encode_length(268_435_455) + head + bytes(65536))
    verify_that_the_good_one_is_stored(plant)
    assert watched.refused(EVIL) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 64,
        b"\xff" * 64,
        b"\x10\x00",
        packet(0x82, b""),
        packet(0x30, b"\xff\xff"),
        b"\x32\xff\xff\xff\xff\xff",
    ],
    ids=["zeros", "ones", "second CONNECT", "empty SUBSCRIBE", "short topic", "endless length"],
)
def test_bytes_that_are_no_packet_harm_nobody(plant, evil, watched, data):
    evil.send_raw(data)
    verify_that_the_good_one_is_stored(plant)
    assert watched.refused(EVIL) == 0


def test_a_flood_is_dropped_counted_and_told_and_the_others_are_stored_meanwhile(plant, evil, watched):
    topic, epoch = topic_of(EVIL, Channel.EVENTS), next(_epochs)
    rates = watched.monitor.receiver.rates
    assert rates is not None
    reports = FloodReports(watched.store, CLOCK)
    for sequence in range(1, 3001):
        evil.publish(topic, event(epoch, sequence), qos=0)
    evil.ping()
    verify_that_the_good_one_is_stored(plant)
    alerts: list[Alert] = []

    def told() -> bool:
        alerts.extend(reports.report(rates.take_over_rate()))
        return bool(alerts)

    wait_until(told, what="the flood is told")
    assert [(alert.kind, alert.scope) for alert in alerts] == [("device_flood", f"device:{EVIL}")]
    assert watched.refused(EVIL) > 0
    assert watched.refused(GOOD) == 0


def test_without_tls_nobody_is_heard(plant):
    with pytest.raises(LinkError):
        BareClient(plant.endpoints()[0], "x")
