"""Nobody in a real NATS cluster who shouldn't be, and nobody more than his rights: refused or contained."""

import itertools
import random
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from broker.access import Access, may
from broker.client import Delivery, WireClient
from broker.errors import LinkError
from broker.identity.names import Role
from broker.messages import MAX_BYTES, MAX_PACKET_BYTES
from broker.servers.bare_client import REFUSED, BareClient, Received, RefusedError, Will
from broker.servers.nats import find_nats_server
from broker.topics import SHARDS, Channel, DeviceId, FleetId, Topic, device_filters, fleet_filter, shard_of
from tests.fleet_broker import Credentials, TestFleet
from tests.nats_nodes import HOST, Nodes, running_nodes
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(find_nats_server() is None, reason="no nats-server here: apt-get install nats-server"),
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

# As in the configuration of broker/servers/nats.py.
ACK_WAIT_S = 30.0
FLEET = FleetId("plant")
DEVICES = ("press-1", "press-2")
_numbers = itertools.count()


def topic(device: str, channel: Channel) -> str:
    return str(Topic(FLEET, DeviceId(device), channel))


class Plant(TestFleet):
    """A fleet that remembers whom it gave certificates."""

    def who(self, role: Role, owner: str) -> Credentials:
        stem = self.path / (owner if role is Role.DEVICE else f"{role.value}_{owner}")
        return Credentials(self.folder.ca, stem.with_suffix(".pem"), stem.with_suffix(".key"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Plant:
    made = Plant(tmp_path_factory.mktemp("fleet"), FLEET)
    for role, owner in (
        *((Role.DEVICE, device) for device in (*DEVICES, "stolen")),
        (Role.OPERATOR, "anna"),
        (Role.OPERATOR, "left"),
        (Role.MONITOR, "m1"),
        (Role.READER, "eye"),
        (Role.LABELLER, "lab"),
    ):
        made.issue(role, owner)
    return made


@pytest.fixture(scope="module")
def cluster(fleet) -> Iterator[Nodes]:
    with running_nodes(fleet) as running:
        yield running


@pytest.fixture
def link(fleet, cluster) -> Iterator[Callable[..., BareClient]]:
    """Connect as somebody to one node after the other; every link has a name of its own unless it is given one."""
    opened: list[BareClient] = []

    def connect(role: Role, owner: str, client_id: str | None = None, **how) -> BareClient:
        number = next(_numbers)
        endpoint = cluster.endpoints[number % len(cluster.endpoints)]
        tls = fleet.who(role, owner).context()
        client = BareClient(endpoint, client_id or f"{owner}-{number}", tls=tls, timeout_s=20, **how)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.cut()


def hear(client: BareClient, channel: Channel) -> None:
    assert client.subscribe(fleet_filter(FLEET, channel), 0) != REFUSED


def wait_for(client: BareClient, payload: bytes, timeout_s: float = 10.0) -> list[Received]:
    """Return what came up to a payload."""

    def has_come() -> bool:
        client.ping()
        return any(received.payload == payload for received in client.received)

    wait_until(has_come, timeout_s, what=f"{payload!r} has come")
    return [received for received in client.received if not received.retained or received.payload == payload]


def test_without_a_certificate_or_with_one_of_another_authority_or_one_that_is_over_nobody_is_let_in(
    fleet, cluster, tmp_path
):
    bare = ssl.create_default_context(cafile=fleet.folder.ca)
    foreign = TestFleet(tmp_path, FLEET).issue(Role.DEVICE, "press-1")
    past = _expired(fleet, tmp_path)
    for tls in (None, bare, replace(foreign, ca=fleet.folder.ca).context(), past.context()):
        for endpoint in cluster.endpoints:
            with pytest.raises(LinkError):
                BareClient(endpoint, "x", tls=tls)


def _expired(fleet: Plant, folder) -> Credentials:
    """A certificate that the fleet's authority signed and that is over."""
    good = fleet.who(Role.DEVICE, "press-1")
    request, certificate = folder / "old.csr", folder / "old.pem"
    subject = ["-subj", "/O=plant/OU=device/CN=press-1"]

    def run(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    run("req", "-new", "-key", good.key, *subject, "-out", request)
    signing = ["-CA", fleet.folder.intermediate, "-CAkey", fleet.folder.intermediate_key, "-CAcreateserial"]
    run("x509", "-req", "-in", request, *signing, "-days", "-1", "-out", certificate)
    certificate.write_bytes(certificate.read_bytes() + fleet.folder.intermediate.read_bytes())
    return replace(good, certificate=certificate)


def test_a_name_that_the_authority_signed_and_the_register_does_not_know_is_not_let_in(fleet, cluster):
    """The register decides, not the certificate alone: here of a device that came after the list was written."""
    stranger = fleet.issue(Role.DEVICE, f"new-{next(_numbers)}")
    with pytest.raises(RefusedError):
        BareClient(cluster.endpoints[0], "x", tls=stranger.context())


def test_a_client_does_not_talk_to_a_node_under_another_name_than_its_certificates(fleet, cluster):
    tls = fleet.who(Role.DEVICE, "press-1").context()
    with socket.create_connection((HOST, cluster.endpoints[0].port)) as plain, pytest.raises(ssl.SSLError):
        tls.wrap_socket(plain, server_hostname="127.0.0.2")


def test_tls_older_than_1_2_is_refused(fleet, cluster):
    tls = fleet.who(Role.DEVICE, "press-1").context()
    tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(LinkError):
        BareClient(cluster.endpoints[0], "x", tls=tls)


def test_tls_1_2_without_authentication_of_what_is_sent_is_refused(fleet, cluster):
    tls = fleet.who(Role.DEVICE, "press-1").context()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA")
    with pytest.raises(LinkError, match="handshake failure"):
        BareClient(cluster.endpoints[0], "x", tls=tls)
    tls.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    BareClient(cluster.endpoints[0], "x", tls=tls).close()


def test_a_devices_certificate_makes_no_node(fleet, cluster):
    """Any device has a certificate of the root that nodes trust; the secret keeps it out of the cluster."""
    tls = fleet.who(Role.DEVICE, "press-1").context()
    node = cluster.nodes[0]
    with socket.create_connection((HOST, node.route_port)) as plain:
        plain.settimeout(20)
        with tls.wrap_socket(plain, server_hostname=HOST) as encrypted:
            assert encrypted.recv(4096).startswith(b"INFO")
            encrypted.sendall(b'CONNECT {"server_id":"x","name":"n9","cluster":"fieldloop","protocol":1}\r\nPING\r\n')
            said = b""
            while chunk := encrypted.recv(4096):
                said += chunk
    assert b"Authorization Violation" in said


def test_natss_own_protocol_lets_nobody_in(cluster):
    node = cluster.nodes[0]
    with socket.create_connection((HOST, node.client_port)) as plain:
        plain.settimeout(20)
        plain.recv(4096)
        plain.sendall(b'CONNECT {"verbose":false,"user":"CN=press-1,OU=device,O=plant","pass":""}\r\nPING\r\n')
        assert b"Authorization Violation" in plain.recv(4096)


@pytest.mark.parametrize(
    "wanted",
    [
        "#",
        "+/#",
        "fieldloop/#",
        "$MQTT/#",
        "$MQTT/sub/#",
        "$SYS/#",
        "$JS/#",
        "fieldloop/1/plant/+/+/desired",
        topic("press-2", Channel.DESIRED),
        topic("press-2", Channel.COMMAND),
        topic("press-1", Channel.TELEMETRY),
    ],
)
def test_a_device_is_refused_every_subscription_but_its_own(link, wanted):
    device = link(Role.DEVICE, "press-1")
    assert device.subscribe(wanted, 0) == device.subscribe(wanted, 1) == REFUSED
    assert [device.subscribe(own, 0) for own in device_filters(FLEET, DeviceId("press-1"))] == [0, 0, 0]


@pytest.mark.parametrize("retained", [False, True])
def test_what_a_device_publishes_as_another_or_as_the_trainer_reaches_nobody(link, retained):
    eye = link(Role.READER, "eye")
    for channel in Channel:
        hear(eye, channel)
    device = link(Role.DEVICE, "press-1")
    for channel in Channel:
        device.publish(topic("press-2", channel), b"forged", retained=retained)
    for channel in (Channel.DESIRED, Channel.STORED, Channel.COMMAND, Channel.LABELS):
        device.publish(topic("press-1", channel), b"forged", retained=retained)
    device.publish(topic("press-1", Channel.TELEMETRY), b"own")
    assert b"forged" not in {received.payload for received in wait_for(eye, b"own")}
    later = link(Role.READER, "eye")
    for channel in Channel:
        hear(later, channel)
    later.ping()
    assert b"forged" not in {received.payload for received in later.received}


def test_a_last_will_on_a_topic_of_another_is_not_published_and_ones_own_is(link):
    eye = link(Role.READER, "eye")
    hear(eye, Channel.STATUS)
    link(Role.DEVICE, "press-1", will=Will(topic("press-2", Channel.STATUS), b"forged", retained=True)).cut()
    link(Role.DEVICE, "press-1", will=Will(topic("press-1", Channel.STATUS), b"gone", retained=True)).cut()
    assert b"forged" not in {received.payload for received in wait_for(eye, b"gone")}


def test_a_reader_writes_nothing_and_a_labeller_labels_only(link):
    eye, other = link(Role.READER, "eye"), link(Role.READER, "eye")
    for channel in Channel:
        hear(eye, channel)
        other.publish(topic("press-1", channel), b"by a reader")
    labeller = link(Role.LABELLER, "lab")
    for channel in Channel:
        labeller.publish(topic("press-1", channel), b"by a labeller")
    heard = wait_for(eye, b"by a labeller")
    assert [(Channel(received.topic.rpartition("/")[2]), received.payload) for received in heard] == [
        (Channel.LABELS, b"by a labeller")
    ]


def test_nodes_let_write_exactly_what_the_rules_oracle_allows(link, fleet):
    """The same oracle as Mosquitto's rules are compared with, in its exact form; a reader hears the fleet's topics."""
    rng = random.Random(1)
    view = fleet.register.view()
    eye = link(Role.READER, "eye")
    for channel in Channel:
        hear(eye, channel)
    topics = []
    for _ in range(60):
        owner = rng.choice((*DEVICES, "press-9", "anna"))
        shard = shard_of(DeviceId(owner)) if rng.random() < 0.7 else rng.choice(SHARDS)
        topics.append(f"fieldloop/1/plant/{shard}/{owner}/{rng.choice(list(Channel)).value}")
    expected = []
    for role, owner in (
        (Role.DEVICE, "press-1"),
        (Role.DEVICE, "press-2"),
        (Role.OPERATOR, "anna"),
        (Role.MONITOR, "m1"),
    ):
        client = link(role, owner)
        name = owner if role is Role.DEVICE else f"{role.value}:{owner}"
        for each in topics:
            client.publish(each, name.encode(), qos=0)
        client.ping()
        expected += [(name, each) for each in topics if may(view, name, each, Access.WRITE, exact=True)]
    assert expected
    link(Role.DEVICE, "press-1").publish(topic("press-1", Channel.EVENTS), b"end")
    heard = [(received.payload.decode(), received.topic) for received in wait_for(eye, b"end")[:-1]]
    assert sorted(heard) == sorted(expected)


def test_a_payload_over_the_largest_harms_no_monitor_and_no_other_device(link, fleet, cluster):
    """NATS 2.9 bounds no packet of MQTT: it is the monitor's client that keeps no more than the limit of it."""
    arrived: list[Delivery] = []
    monitor = WireClient(
        cluster.endpoints[0],
        "monitor-of-the-large",
        filters=(fleet_filter(FLEET, Channel.TELEMETRY),),
        on_delivery=arrived.append,
        rng=random.Random(1),
        tls=fleet.who(Role.MONITOR, "m1").context(),
    )
    monitor.start()
    try:
        wait_until(lambda: monitor.is_connected, 20)
        link(Role.DEVICE, "press-1").publish(topic("press-1", Channel.TELEMETRY), bytes(MAX_PACKET_BYTES * 2))
        link(Role.DEVICE, "press-2").publish(topic("press-2", Channel.TELEMETRY), b"still here")
        wait_until(lambda: any(delivery.payload == b"still here" for delivery in arrived), 30)
        assert max(len(delivery.payload) for delivery in arrived) <= MAX_BYTES[Channel.TELEMETRY] + 1
    finally:
        monitor.close()


def test_malformed_topics_and_packets_harm_the_others_in_nothing(link):
    eye, good = link(Role.READER, "eye"), link(Role.DEVICE, "press-2")
    hear(eye, Channel.TELEMETRY)
    for evil in (b"fieldloop/1/\xff\xfe", b"a.b", b"a b", b"\x00", b"x" * 60_000, b"/" * 500, b"fieldloop/+/#"):
        bad = link(Role.DEVICE, "press-1")
        try:
            bad.publish(evil, b"x")
            bad.ping()
        except LinkError:
            continue
    good.publish(topic("press-2", Channel.TELEMETRY), b"unharmed")
    assert [received.payload for received in wait_for(eye, b"unharmed")] == [b"unharmed"]


def test_who_takes_over_anothers_session_by_its_name_gets_none_of_its_messages(link):
    """NATS cannot bind a session's name to an identity. The owner is cut off; its messages are not handed out."""
    owner = link(Role.MONITOR, "m1", "monitor-session", clean=False)
    assert owner.subscribe(fleet_filter(FLEET, Channel.TELEMETRY), 1) == 1
    owner.close()
    link(Role.DEVICE, "press-2").publish(topic("press-2", Channel.TELEMETRY), b"for the monitor")
    thief = link(Role.DEVICE, "press-1", "monitor-session", clean=False)
    thief.ping()
    assert list(thief.received) == []
    thief.close()
    again = link(Role.MONITOR, "m1", "monitor-session", clean=False)
    # What NATS held out to the thief, who may not read it, is unacknowledged: it comes again after `ack_wait`.
    assert wait_for(again, b"for the monitor", ACK_WAIT_S + 15.0)


def test_revoking_cuts_off_at_once_without_a_restart_and_costs_no_node_and_no_order(link, fleet, cluster):
    """2.9.10 dies on a list without the writer of a retained message: what is revoked stays in it and may not enter."""
    left = link(Role.OPERATOR, "left")
    left.publish(topic("press-1", Channel.DESIRED), b"order", retained=True)
    stolen = link(Role.DEVICE, "stolen")
    stolen.publish(topic("stolen", Channel.STATUS), b"here", retained=True)
    bystander = link(Role.DEVICE, "press-2")
    bystander.ping()
    fleet.revoke(Role.OPERATOR, "left")
    fleet.revoke(Role.DEVICE, "stolen")
    cluster.reload()
    for gone in (left, stolen):
        with pytest.raises(LinkError):
            gone.ping()
    for credentials in (fleet.who(Role.OPERATOR, "left"), fleet.who(Role.DEVICE, "stolen")):
        for endpoint in cluster.endpoints:
            with pytest.raises(RefusedError):
                BareClient(endpoint, "again", tls=credentials.context())
    bystander.ping()
    assert all(node.is_running for node in cluster.running.values())
    device = link(Role.DEVICE, "press-1")
    device.subscribe(topic("press-1", Channel.DESIRED), 0)
    assert [received.payload for received in wait_for(device, b"order")] == [b"order"]
