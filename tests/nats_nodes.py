"""Three nodes of a NATS cluster on this machine, as `fieldloop broker render --nats` writes them, for tests."""

import contextlib
import signal
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from broker.client import Endpoint
from broker.servers.nats import CONFIG_NAME, READY_PATTERN, Limits, Node, find_nats_server
from broker.servers.nats_cluster import write_cluster
from broker.servers.process import LocalBroker, start_broker_process
from tests.fleet_broker import CLOCK, TestFleet
from tests.ports import free_port
from tests.waiting import wait_until

HOST = "127.0.0.1"
HEALTHY_S = 40.0


@dataclass(slots=True)
class Nodes:
    """Nodes that run, or may be started again.

    Attributes:
        endpoints: of MQTT, by node.
    """

    fleet: TestFleet
    folder: Path
    nodes: tuple[Node, ...]
    limits: Limits
    running: dict[str, LocalBroker] = field(default_factory=dict)

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint(node.host, node.mqtt_port) for node in self.nodes]

    def write(self) -> None:
        write_cluster(self.fleet.folder, self.folder, self.nodes, self.limits, CLOCK.utc_s())

    def start(self, node: Node) -> None:
        program = find_nats_server()
        assert program is not None
        folder = self.folder / node.name
        self.running[node.name] = start_broker_process(
            [str(program), "-c", str(folder / CONFIG_NAME)],
            READY_PATTERN,
            endpoint=Endpoint(node.host, node.mqtt_port),
            kind="nats",
            folder=folder,
        )

    def connected(self, node: Node) -> bytes:
        """Return what a node tells of its clients."""
        with urllib.request.urlopen(f"http://{HOST}:{node.health_port}/connz?limit=1000", timeout=5) as answer:
            told: bytes = answer.read()
            return told

    def kill(self, node: Node) -> None:
        process = self.running.pop(node.name).process
        process.kill()
        process.wait()

    def reload(self) -> None:
        """Write the users anew and have every node read them."""
        self.write()
        for broker in self.running.values():
            before = broker.log.read_bytes().count(b"Reloaded server configuration")
            broker.process.send_signal(signal.SIGHUP)
            wait_until(lambda b=broker, n=before: b.log.read_bytes().count(b"Reloaded server configuration") > n, 20)  # type: ignore[misc]

    def wait_until_healthy(self) -> None:
        """Return once every node that runs can serve."""
        wait_until(lambda: all(_is_healthy(n) for n in self.nodes if n.name in self.running), HEALTHY_S)

    def stop(self) -> None:
        for broker in self.running.values():
            broker.process.send_signal(signal.SIGTERM)
        for broker in self.running.values():
            broker.stop()
        self.running.clear()


def _is_healthy(node: Node) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{node.health_port}/healthz", timeout=5):
        return True
    return False


@contextlib.contextmanager
def running_nodes(
    fleet: TestFleet, hosts: tuple[str, str, str] = (HOST,) * 3, limits: Limits | None = None
) -> Iterator[Nodes]:
    """Run three nodes until the block ends.

    Args:
        fleet: whose identities they let in.
        hosts: where each listens; with three addresses all have one port, as behind one name.
        limits: of each.
    """
    ports = [free_port() for _ in range(12)]
    if len(set(hosts)) > 1:
        ports[1] = ports[2] = ports[0]
    nodes = tuple(
        Node(f"n{i + 1}", host, ports[i], ports[3 + i], ports[6 + i], ports[9 + i]) for i, host in enumerate(hosts)
    )
    cluster = Nodes(fleet, fleet.path / "nats", nodes, limits or Limits(connections=2000, store_bytes=256 << 20))
    cluster.write()
    try:
        for node in nodes:
            cluster.start(node)
        cluster.wait_until_healthy()
        yield cluster
    finally:
        cluster.stop()


def resolve_as(name: str, port: int, addresses: tuple[str, ...], real=socket.getaddrinfo):
    """Return a resolver that knows a name of several addresses, as a name server does."""

    def resolve(host, wanted, *others, **options):
        # The link hands the name over as bytes.
        if host not in {name, name.encode()} or wanted != port:
            return real(host, wanted, *others, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve
