"""A node of a NATS cluster is killed under load: agents and monitors go on, and nothing acknowledged is lost."""

import contextlib
import itertools
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from broker.client import Delivery, Endpoint
from broker.errors import LinkError
from broker.identity.names import Role
from broker.messages import Event, Status, Stored, encode_body, parse_as
from broker.servers.bare_client import REFUSED, BareClient, Will
from broker.servers.nats import Node, find_nats_server
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter
from edge_agent.clock import SystemClock
from edge_agent.link import DeviceLink
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.spool import Spool
from tests.fleet_broker import Credentials, TestFleet
from tests.nats_nodes import Nodes, resolve_as, running_nodes
from tests.waiting import wait_until
from trainer.monitoring.fleet import intake_totals
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import open_store, store_uri

pytestmark = [
    pytest.mark.skipif(find_nats_server() is None, reason="no nats-server here: apt-get install nats-server"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

FLEET = FleetId("plant")
# One name that stands for three machines; the certificate of every node carries it.
NAME = "localhost"
ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
DEVICES = 4
BACK_S = 60.0


@pytest.fixture
def fleet(tmp_path) -> TestFleet:
    return TestFleet(tmp_path, FLEET)


@pytest.fixture
def issued(fleet) -> dict[str, Credentials]:
    roles = {"m1": Role.MONITOR, "anna": Role.OPERATOR, "eye": Role.READER}
    devices = {f"press-{n}": Role.DEVICE for n in range(DEVICES)}
    return {owner: fleet.issue(role, owner) for owner, role in (roles | devices).items()}


@pytest.fixture
def cluster(fleet, issued, monkeypatch) -> Iterator[Nodes]:
    assert issued  # The nodes read the identities at their start.
    with running_nodes(fleet, ADDRESSES) as running:
        turns = itertools.count()

        def in_turn(*arguments: object, **options: object) -> object:
            at = next(turns) % len(ADDRESSES)
            names = resolve_as(NAME, running.nodes[0].mqtt_port, ADDRESSES[at:] + ADDRESSES[:at])
            return names(*arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", in_turn)
        yield running


class Agent:
    """An agent's spool, forwarder and link, and a source that never pauses for the broker."""

    def __init__(self, name: str, endpoint: Endpoint, credentials: Credentials, folder) -> None:
        folder.mkdir()
        self.spool = Spool(folder / "spool.db", random.Random(name))
        self.link = DeviceLink(endpoint, FLEET, DeviceId(name), 5, credentials.context())
        self.forwarder = Forwarder(
            self.spool, self.link.publish, SystemClock(), random.Random(name), resend_after_s=3.0
        )
        self.links = 0
        self.put = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        will = Status(online=False, at_utc_s=0.0, boot_id="b", agent_version="0")
        self.link.connect(self._hear, self._on_link, will, random.Random(name))
        self._thread.start()

    def _on_link(self, is_up: bool) -> None:  # noqa: FBT001 - as the link calls it
        self.links += is_up
        self.forwarder.on_link(is_up)

    def _hear(self, delivery: Delivery) -> None:
        if delivery.topic.channel is Channel.STORED:
            self.forwarder.on_stored(parse_as(Stored, Channel.STORED, delivery.payload))

    def _run(self) -> None:
        while not self._ending.wait(0.02):
            event = Event("load", float(self.put), "info", "under load")
            self.spool.put([(Channel.EVENTS, encode_body(event))])
            self.put += 1
            self.forwarder.step()

    def finish(self) -> None:
        """Stop the source, and wait until the monitor has all that it gave."""
        self.end()

        def is_empty() -> bool:
            self.forwarder.step()
            return self.spool.waiting_through(self.spool.last_sequence) == 0

        wait_until(is_empty, BACK_S, "the spool is empty")

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


def linked(endpoint: Endpoint, client_id: str, who: Credentials, *, clean: bool = True) -> BareClient:
    """Connect to a node; while the others choose new leaders it does not answer."""
    clients: list[BareClient] = []

    def is_linked() -> bool:
        with contextlib.suppress(LinkError, OSError):
            clients.append(BareClient(endpoint, client_id, tls=who.context(), clean=clean, timeout_s=20))
        return bool(clients)

    wait_until(is_linked, BACK_S, f"{client_id} is linked")
    return clients[0]


def heard(client: BareClient) -> bool:
    """Whether anything has come by now."""
    client.ping()
    return bool(client.received)


def node_of(cluster: Nodes, client_id: str) -> Node:
    """Return the node that a client is linked to, as the nodes' logs tell."""
    for node in cluster.nodes:
        if node.name in cluster.running and client_id.encode() in cluster.connected(node):
            return node
    raise AssertionError(f"{client_id} is linked to no node")


def test_agents_and_monitor_go_on_when_the_node_they_use_is_killed_and_nothing_is_lost(cluster, issued, tmp_path):
    endpoint = Endpoint(NAME, cluster.nodes[0].mqtt_port)
    store = open_store(store_uri(tmp_path / "fleet.db"))
    monitor = Monitor(endpoint, FLEET, store, clock=SystemClock(), rng=random.Random(2), tls=issued["m1"].context())
    monitor.start()
    agents = [Agent(f"press-{n}", endpoint, issued[f"press-{n}"], tmp_path / f"agent-{n}") for n in range(DEVICES)]
    try:
        wait_until(lambda: intake_totals(store).records > 100, BACK_S, "records are stored")
        victim = node_of(cluster, monitor.client._client_id)
        before = intake_totals(store).records
        cluster.kill(victim)
        wait_until(lambda: intake_totals(store).records > before + 300, BACK_S, "records are stored again")
        cluster.start(victim)
        for agent in agents:
            agent.finish()
        linked(Endpoint(victim.host, victim.mqtt_port), "guest", issued["eye"]).cut()
        assert intake_totals(store).records == sum(agent.put for agent in agents)
        assert sum(agent.links for agent in agents) > DEVICES
        assert all(agent.spool.counts()[Channel.EVENTS].dropped == 0 for agent in agents)
    finally:
        for agent in agents:
            agent.end()
            agent.link.close(2.0)
            agent.spool.close()
        monitor.close()
        store.close()


@pytest.mark.parametrize("dies", [0, 1])
def test_what_a_node_acknowledged_reaches_an_absent_clients_session_through_another_after_a_death(
    cluster, issued, dies
):
    """The session was made at the first node, the messages came in at the second; either may die."""
    first, second, third = cluster.endpoints
    absent = BareClient(first, "session", tls=issued["eye"].context(), clean=False)
    assert absent.subscribe(fleet_filter(FLEET, Channel.EVENTS), 1) != REFUSED
    absent.close()
    topic = str(Topic(FLEET, DeviceId("press-0"), Channel.EVENTS))
    acknowledged = set()
    with BareClient(second, "press-0", tls=issued["press-0"].context(), timeout_s=30) as device:
        for number in range(200):
            device.publish(topic, b"%d" % number)
            acknowledged.add(b"%d" % number)
    cluster.kill(cluster.nodes[dies])
    back = linked(third, "session", issued["eye"], clean=False)
    assert back.session_present

    def has_all() -> bool:
        back.ping()
        return {received.payload for received in back.received} >= acknowledged

    wait_until(has_all, BACK_S, "all that was acknowledged has come")


def test_retained_messages_outlive_their_node_and_the_wills_of_its_clients_do_not(cluster, issued):
    """Who watches for devices that are gone must know: a node takes its clients' wills with it."""
    first, second, third = cluster.endpoints
    desired = str(Topic(FLEET, DeviceId("press-0"), Channel.DESIRED))
    status = str(Topic(FLEET, DeviceId("press-0"), Channel.STATUS))
    with BareClient(first, "anna", tls=issued["anna"].context(), timeout_s=30) as operator:
        operator.publish(desired, b"order", retained=True)
    dying = BareClient(
        first, "press-0", tls=issued["press-0"].context(), will=Will(status, b"gone", retained=True), timeout_s=30
    )
    eye = BareClient(second, "eye", tls=issued["eye"].context(), timeout_s=30)
    eye.subscribe(fleet_filter(FLEET, Channel.STATUS), 0)
    dying.ping()
    cluster.kill(cluster.nodes[0])
    late = linked(third, "late", issued["press-0"])
    late.subscribe(desired, 0)
    wait_until(lambda: heard(late), 20)
    assert [(received.payload, received.retained) for received in late.received] == [(b"order", True)]
    # What came before this message has come.
    late.publish(status, b"I am here", qos=0)
    wait_until(lambda: heard(eye), 20)
    assert [received.payload for received in eye.received] == [b"I am here"]


def test_without_more_than_half_of_the_nodes_nothing_is_acknowledged(cluster, issued):
    """An acknowledgement would be a promise of one disk; agents keep their records instead."""
    device = BareClient(cluster.endpoints[0], "press-0", tls=issued["press-0"].context(), timeout_s=3)
    cluster.kill(cluster.nodes[1])
    cluster.kill(cluster.nodes[2])
    topic = str(Topic(FLEET, DeviceId("press-0"), Channel.EVENTS))
    with pytest.raises((LinkError, OSError)):
        device.publish(topic, b"too late")
