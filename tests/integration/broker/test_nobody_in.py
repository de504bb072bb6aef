"""Nobody in who shouldn't be: a real Mosquitto as we configure it, a real monitor, and clients that mean no good."""

import random
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from broker.client import Endpoint, WireClient
from broker.errors import LinkError
from broker.frames import encode_length, packet
from broker.identity.keys import make_request
from broker.identity.names import Identity, Role
from broker.messages import MAX_PACKET_BYTES
from broker.servers.bare_client import REFUSED, BareClient, Will
from broker.servers.fleet import FleetBroker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter, shard_of
from tests.fleet_broker import CLOCK, HOST, Credentials, TestFleet, link
from tests.resident import resident_kib
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto"),
]

PLANT = FleetId("plant")
EVIL, GOOD = DeviceId("press-1"), DeviceId("press-2")
WRONG_SHARD = "00" if shard_of(EVIL) != "00" else "01"


def topic_of(device: str, channel: Channel) -> str:
    return str(Topic(PLANT, DeviceId(device), channel))


@dataclass(frozen=True, slots=True)
class Plant:
    """A fleet, its broker, and the certificates of those who take part."""

    fleet: TestFleet
    broker: FleetBroker
    evil: Credentials
    good: Credentials
    trainer: Credentials
    reader: Credentials

    @property
    def endpoint(self) -> Endpoint:
        return self.broker.process.endpoint

    def heard_by_reader(self, act_as: BareClient, *published: tuple[str, bytes]) -> list[str]:
        """Return which of some messages reach somebody who may read everything."""
        with link(self.broker, self.reader) as ear:
            for channel in Channel:
                ear.subscribe(fleet_filter(PLANT, channel), 0)
            ear.received.clear()  # what was retained
            for topic, payload in published:
                act_as.publish(topic, payload)
            ear.ping()
            return [received.topic for received in ear.received]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    fleet = TestFleet(tmp_path_factory.mktemp("plant"))
    evil, good = fleet.issue(Role.DEVICE, EVIL), fleet.issue(Role.DEVICE, GOOD)
    trainer, reader = fleet.issue(Role.TRAINER, "loop"), fleet.issue(Role.READER, "wall")
    with fleet.broker() as broker:
        yield Plant(fleet, broker, evil, good, trainer, reader)


@pytest.fixture
def evil(plant: Plant) -> Iterator[BareClient]:
    with link(plant.broker, plant.evil) as client:
        yield client


# --- who has no business here ----------------------------------------------------------------------------------------


def refused(plant: Plant, context: ssl.SSLContext | None, why: bytes = b"") -> str:
    """Try to connect in vain; return what the client heard, which is not always told why: the broker's log is."""
    log = plant.broker.process.log
    before = log.stat().st_size
    with pytest.raises(LinkError) as caught:
        BareClient(plant.endpoint, "x", tls=context, timeout_s=5).ping()
    wait_until(lambda: why in log.read_bytes()[before:], what=f"the broker has logged {why!r}")
    return str(caught.value)


def test_without_a_certificate(plant):
    context = ssl.create_default_context(cafile=plant.fleet.folder.ca)
    refused(plant, context, b"peer did not return a certificate")


def test_without_tls(plant):
    refused(plant, None)


def test_with_the_certificate_of_another_fleet(plant, tmp_path):
    stranger = TestFleet(tmp_path).issue(Role.DEVICE, EVIL)
    context = ssl.create_default_context(cafile=plant.fleet.folder.ca)
    context.load_cert_chain(stranger.certificate, stranger.key)
    refused(plant, context, b"certificate verify failed")


def test_with_a_certificate_that_has_expired(plant, tmp_path):
    key, request = make_request()
    issuer = plant.fleet.folder.open_issuer()
    old = issuer.issue(request, Identity(Role.DEVICE, EVIL), CLOCK.utc_s() - 30 * 86_400, 7)
    (tmp_path / "old.pem").write_bytes(old.chain)
    (tmp_path / "old.key").write_bytes(key)
    expired = Credentials(plant.fleet.folder.ca, tmp_path / "old.pem", tmp_path / "old.key")
    refused(plant, expired.context(), b"certificate verify failed")


def test_with_the_certificate_of_the_authority_itself(plant):
    """The intermediate's own certificate is no client's, and its holder has no name that is known."""
    folder = plant.fleet.folder
    authority = Credentials(folder.ca, folder.intermediate, folder.intermediate_key)
    refused(plant, authority.context())


def test_with_the_servers_own_certificate(plant):
    folder = plant.fleet.folder
    refused(plant, Credentials(folder.ca, folder.server_chain, folder.server_key).context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_with_an_old_tls(plant, version):
    context = plant.evil.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    assert "protocol version" in refused(plant, context)


def test_with_tls_1_2_and_a_cipher_without_authentication_of_what_is_sent(plant):
    context = plant.evil.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    assert "handshake failure" in refused(plant, context)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    BareClient(plant.endpoint, "x", tls=context).close()


def test_a_client_refuses_a_broker_of_another_name(tmp_path):
    elsewhere = TestFleet(tmp_path, hosts=("broker.example.org",))
    device = elsewhere.issue(Role.DEVICE, EVIL)
    with elsewhere.broker() as broker:
        with pytest.raises(LinkError, match="IP address mismatch"):
            link(broker, device)
        links: list[bool] = []
        client = WireClient(
            Endpoint(HOST, broker.process.endpoint.port),
            "x",
            filters=(),
            on_delivery=lambda _: None,
            on_link=links.append,
            rng=random.Random(1),
            tls=device.context(),
        )
        client.start()
        log = broker.process.log
        wait_until(lambda: b"bad certificate" in log.read_bytes(), what="the client has refused the broker")
        client.close()
        assert links == []


# --- who was let in once, and is so no more --------------------------------------------------------------------------


def test_who_is_revoked_is_cut_off_from_everything_at_once_without_a_restart(tmp_path):
    fleet = TestFleet(tmp_path)
    device, reader, trainer = (
        fleet.issue(Role.DEVICE, EVIL),
        fleet.issue(Role.READER, "wall"),
        fleet.issue(Role.TRAINER, "loop"),
    )
    with fleet.broker() as broker, link(broker, reader) as ear, link(broker, trainer) as orders:
        ear.subscribe(fleet_filter(PLANT, Channel.STATUS))
        evil = link(broker, device)
        evil.subscribe(topic_of(EVIL, Channel.COMMAND))
        evil.publish(topic_of(EVIL, Channel.STATUS), b"before", retained=True)
        ear.ping()
        assert [received.payload for received in ear.received] == [b"before"]
        ear.received.clear()

        pid = broker.process.pid
        fleet.revoke(Role.DEVICE, EVIL)
        assert broker.follow()
        assert not broker.follow(), "nothing has changed since"
        wait_until(lambda: b"Reloading config" in broker.process.log.read_bytes())

        evil.publish(topic_of(EVIL, Channel.STATUS), b"after")
        ear.ping()
        orders.publish(topic_of(EVIL, Channel.COMMAND), b"a secret order")
        evil.ping()
        assert not ear.received
        assert not evil.received
        # Mosquitto leaves the link itself, and lets it come again: it is of no use.
        with link(broker, device) as again:
            again.subscribe("#")
            again.publish(topic_of(EVIL, Channel.STATUS), b"after")
            again.ping()
            ear.ping()
            assert not again.received
            assert not ear.received
        # What it had left behind is handed out no more.
        ear.subscribe(fleet_filter(PLANT, Channel.STATUS))
        ear.ping()
        assert not ear.received
        assert broker.process.pid == pid
        assert broker.process.is_running


def test_who_is_revoked_reads_no_order_that_was_retained_or_queued_and_leaves_no_last_will(tmp_path):
    """It still completes the handshake until its certificate ends; nothing comes of that."""
    fleet = TestFleet(tmp_path)
    device, reader, trainer = (
        fleet.issue(Role.DEVICE, EVIL),
        fleet.issue(Role.READER, "wall"),
        fleet.issue(Role.TRAINER, "loop"),
    )
    with fleet.broker() as broker, link(broker, reader) as ear, link(broker, trainer) as orders:
        with link(broker, device, clean=False) as evil:
            evil.subscribe(topic_of(EVIL, Channel.COMMAND))
            evil.subscribe(topic_of(EVIL, Channel.DESIRED))
        orders.publish(topic_of(EVIL, Channel.DESIRED), b"retained", retained=True)
        orders.publish(topic_of(EVIL, Channel.COMMAND), b"queued while it was away")
        fleet.revoke(Role.DEVICE, EVIL)
        assert broker.follow()
        wait_until(lambda: b"Reloading config" in broker.process.log.read_bytes())
        ear.subscribe(fleet_filter(PLANT, Channel.STATUS), 0)
        with link(broker, device, clean=False, will=Will(topic_of(EVIL, Channel.STATUS), b"gone")) as again:
            again.subscribe(topic_of(EVIL, Channel.DESIRED))
            again.subscribe("#")
            again.ping()
            assert [received.payload for received in again.received] == []
            again.cut()
        ear.ping()
        assert not ear.received


def test_a_device_whose_identity_was_replaced_is_in_by_the_new_and_out_by_the_old(tmp_path):
    fleet = TestFleet(tmp_path)
    old, reader = fleet.issue(Role.DEVICE, EVIL), fleet.issue(Role.READER, "wall")
    new = fleet.rotate(Role.DEVICE, EVIL)
    with fleet.broker() as broker, link(broker, reader) as ear:
        ear.subscribe(fleet_filter(PLANT, Channel.STATUS), 0)
        with link(broker, old) as client:
            client.publish(topic_of(EVIL, Channel.STATUS), b"old")
        with link(broker, new) as client:
            client.publish(topic_of(EVIL, Channel.STATUS), b"new")
        ear.ping()
        assert [received.payload for received in ear.received] == [b"new"]


# --- a device that may be here, and does what it may not -------------------------------------------------------------


def test_a_device_cannot_speak_as_another_or_give_orders(plant, evil):
    own = topic_of(EVIL, Channel.EVENTS)
    forbidden = [topic_of(GOOD, channel) for channel in Channel]
    forbidden += [topic_of(EVIL, c) for c in (Channel.DESIRED, Channel.COMMAND, Channel.STORED, Channel.LABELS)]
    forbidden += [
        "$SYS/broker/version",
        own + "/more",
        own.replace("plant", "other"),
        "#",
        "$CONTROL/dynamic-security/v1",
    ]
    allowed = [(t, b"x") for t in (*forbidden[:-2], own)]
    assert plant.heard_by_reader(evil, *allowed) == [own]


def test_a_device_that_subscribes_to_everything_hears_its_own_orders_only(plant, evil):
    for topic_filter in ("#", "+/+/+/+/+/+", "fieldloop/1/plant/#", "$SYS/#", topic_of(GOOD, Channel.COMMAND)):
        assert evil.subscribe(topic_filter, 0) in {0, REFUSED}
    with link(plant.broker, plant.good) as good, link(plant.broker, plant.trainer) as trainer:
        good.publish(topic_of(GOOD, Channel.STATUS), b"private")
        for channel in (Channel.DESIRED, Channel.COMMAND, Channel.STORED):
            trainer.publish(topic_of(GOOD, channel), b"private")
        trainer.publish(topic_of(EVIL, Channel.COMMAND), b"its own")
    evil.ping()
    assert {received.payload for received in evil.received} == {b"its own"}
    assert {received.topic for received in evil.received} == {topic_of(EVIL, Channel.COMMAND)}


def test_a_device_cannot_take_over_the_session_or_end_the_link_of_another(plant):
    with link(plant.broker, plant.good, "agent-press-2", clean=False) as good:
        good.subscribe(topic_of(GOOD, Channel.COMMAND))
        for client_id in ("agent-press-2", GOOD, ""):
            with link(plant.broker, plant.evil, client_id, clean=client_id == "") as evil:
                assert not evil.session_present or client_id != "agent-press-2"
                with link(plant.broker, plant.trainer) as trainer:
                    trainer.publish(topic_of(GOOD, Channel.COMMAND), b"for press-2")
                evil.ping()
                assert not evil.received
        good.ping()
        assert len(good.received) == 3


def test_a_last_will_cannot_speak_as_another(plant):
    with link(plant.broker, plant.reader) as ear:
        ear.subscribe(fleet_filter(PLANT, Channel.STATUS), 0)
        ear.ping()
        ear.received.clear()
        for device in (GOOD, EVIL):
            link(plant.broker, plant.evil, will=Will(topic_of(device, Channel.STATUS), b"gone")).cut()
        received = ear.take(10)
        assert received is not None
        assert received.topic == topic_of(EVIL, Channel.STATUS)
        ear.ping()
        assert not [other for other in ear.received if other.topic == topic_of(GOOD, Channel.STATUS)]


@pytest.mark.parametrize(
    "topic",
    [
        b"fieldloop/1/plant/\xff\xfe/press-1/status",
        b"fieldloop/1/plant/\xed\xa0\x80/press-1/status",
        b"fieldloop/1/plant/00/press-1/status\x00",
        b"fieldloop/1/plant/+/press-1/status",
        b"#",
        b"",
        b"/" * 60_000,
    ],
    ids=["not UTF-8", "surrogate", "NUL", "plus", "hash", "empty", "60,000 levels"],
)
def test_a_topic_that_is_none_ends_the_link_of_who_sent_it_and_no_other(plant, topic):
    with link(plant.broker, plant.good) as good:
        evil = link(plant.broker, plant.evil)
        with pytest.raises(LinkError):
            evil.publish(topic, b"x")
        good.ping()


def test_a_huge_topic_reaches_nobody(plant, evil):
    long = topic_of(EVIL, Channel.STATUS) + "x" * 60_000
    assert plant.heard_by_reader(evil, (long, b"x")) == []


@pytest.mark.parametrize("announced", [MAX_PACKET_BYTES + 1, 8 << 20, 268_435_455])
def test_a_payload_of_up_to_256_mb_is_cut_off_when_it_is_announced(plant, announced):
    before = resident_kib(plant.broker.process.pid)
    with link(plant.broker, plant.good) as good:
        evil = link(plant.broker, plant.evil)
        name = topic_of(EVIL, Channel.EVENTS).encode()
        head = struct.pack(">H", len(name)) + name + b"\x00\x01"
        evil.send_raw(b"\x32" + encode_length(announced) + head)
        assert evil.is_cut_off(10)
        good.ping()
    assert resident_kib(plant.broker.process.pid) - before < 4096


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
def test_bytes_that_are_no_packet_end_the_link_of_who_sent_them_and_no_other(plant, data):
    with link(plant.broker, plant.good) as good:
        evil = link(plant.broker, plant.evil)
        evil.send_raw(data)
        assert evil.is_cut_off(10)
        good.ping()


def test_more_links_than_are_allowed_are_refused_and_those_that_are_there_go_on(tmp_path):
    fleet = TestFleet(tmp_path)
    devices = [fleet.issue(Role.DEVICE, f"press-{n}") for n in range(4)]
    with fleet.broker(max_connections=3) as broker:
        held = [link(broker, device) for device in devices[:3]]
        with pytest.raises(LinkError):
            link(broker, devices[3])
        for client in held:
            client.ping()
            client.close()


# --- false shards; what else a device may send, and is a lie: test_contained.py ---------------------------------------


def test_exact_rules_close_false_shards_and_keep_out_names_that_are_not_registered(tmp_path):
    fleet = TestFleet(tmp_path)
    device, reader = fleet.issue(Role.DEVICE, EVIL), fleet.issue(Role.READER, "wall")
    with fleet.broker(exact=True) as broker, link(broker, reader) as ear, link(broker, device) as evil:
        ear.subscribe(fleet_filter(PLANT, Channel.EVENTS), 0)
        evil.publish(topic_of(EVIL, Channel.EVENTS).replace(f"/{shard_of(EVIL)}/", f"/{WRONG_SHARD}/"), b"false")
        evil.publish(topic_of(EVIL, Channel.EVENTS), b"true")
        late = fleet.issue(Role.DEVICE, "press-9")
        with link(broker, late) as unknown:
            unknown.publish(topic_of("press-9", Channel.EVENTS), b"unknown yet")
            assert broker.follow()
            wait_until(lambda: b"Reloading config" in broker.process.log.read_bytes())
            unknown.publish(topic_of("press-9", Channel.EVENTS), b"known")
        ear.ping()
        assert [received.payload for received in ear.received] == [b"true", b"known"]
