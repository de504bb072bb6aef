"""A NATS cluster that speaks MQTT: where its program is, and the configuration that Fieldloop gives each node.

The rights of clients are made by `nats_users`; here are the listeners, the limits and what the nodes are to each other.
Pure but for `find_nats_server`.
"""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import BrokerStartError
from broker.messages import MAX_PACKET_BYTES

CONFIG_NAME: Final = "nats.conf"
USERS_NAME: Final = "users.conf"
# The line by which a node says that it takes clients; whether the cluster can serve them its health tells.
READY_PATTERN: Final = rb"Server is ready"

_MQTT_PORT: Final = 8883
_MAX_PORT: Final = 65535
# More than half must live: an even number bears no more deaths than the odd one below it.
_SIZES: Final = (3, 5)
_NODE: Final = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?)=([a-zA-Z0-9.-]{1,253})(?::([1-9][0-9]{0,4}))?")
_SYSTEM_FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_ROUTE_USER: Final = "node"
# A message carries a header of its own inside the cluster.
_MAX_PAYLOAD_BYTES: Final = MAX_PACKET_BYTES + 1024


@dataclass(frozen=True, slots=True)
class Node:
    """One server of the cluster.

    Attributes:
        name: unique in the cluster; JetStream knows its replicas by it, so that it must never change.
        host: where clients and the other nodes reach it; its certificate names it.
        mqtt_port: for devices, people and services.
        route_port: for the other nodes.
        client_port: NATS's own protocol, on loopback; no user may use it.
        health_port: answers ``/healthz``, on loopback.
    """

    name: str
    host: str
    mqtt_port: int = 8883
    route_port: int = 6222
    client_port: int = 4222
    health_port: int = 8222


@dataclass(frozen=True, slots=True)
class Keys:
    """Files of a node: the fleet's root, the node's certificate with the intermediate's, its key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Limits:
    """What a node holds at most.

    Attributes:
        connections: clients at one node: all of them when the others are gone.
        store_bytes: on disk, of sessions, retained messages and what waits for absent clients.
        in_flight: messages sent to a client for one of its subscriptions and not acknowledged.
    """

    connections: int = 20_000
    store_bytes: int = 4 << 30
    in_flight: int = 100


def find_nats_server(path: str | None = None) -> Path | None:
    """Return the program, or None where there is none; Debian puts it where a user's PATH often does not look.

    Args:
        path: folders to look into, separated as in PATH; None for the PATH of this process and the system's folders.
    """
    folders = path if path is not None else os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
    found = shutil.which("nats-server", path=folders)
    return None if found is None else Path(found)


def parse_nodes(texts: Sequence[str]) -> tuple[Node, ...]:
    """Read ``NAME=HOST`` or ``NAME=HOST:PORT`` of each node; nodes at one host get ports of their own.

    Raises:
        BrokerStartError: one is not of this form, or a name or address comes twice.
    """
    nodes: list[Node] = []
    for text in texts:
        match = _NODE.fullmatch(text)
        if match is None:
            raise BrokerStartError(f"--nats {text}: write NAME=HOST or NAME=HOST:PORT, as in n1=10.0.0.1:8883")
        name, host, port_text = match.groups()
        beside = sum(node.host == host for node in nodes)
        port = int(port_text or _MQTT_PORT + beside)
        if port > _MAX_PORT:
            raise BrokerStartError(f"--nats {text}: there is no port {port}")
        nodes.append(Node(name, host, port, 6222 + beside, 4222 + beside, 8222 + beside))
    for kind, values in (("name", [n.name for n in nodes]), ("address", [(n.host, n.mqtt_port) for n in nodes])):
        if len(set(values)) < len(nodes):
            raise BrokerStartError(f"--nats: two nodes have one {kind}; each needs its own")
    if len(nodes) not in _SIZES:
        raise BrokerStartError(f"--nats: {len(nodes)} nodes; a cluster that outlives one of them has 3 or 5")
    return tuple(nodes)


def render_node(node: Node, cluster: Sequence[Node], keys: Keys, store: Path, secret: str, limits: Limits) -> str:
    """Return the configuration of one node; it includes the users' file, which lies beside it.

    Write it for its owner's eyes only: it holds the secret.

    Args:
        node: whose it is.
        cluster: all nodes, this one too.
        keys: its files.
        store: where it keeps its state; of this node alone.
        secret: by which nodes know each other, beside their certificates: any device has a certificate of this root.
        limits: what it holds at most.
    """
    routes = [
        f"nats-route://{_ROUTE_USER}:{secret}@{other.host}:{other.route_port}"
        for other in cluster
        if other.name != node.name
    ]
    replicas = min(3, len(cluster))
    files = f"ca_file: {_text(keys.ca)}, cert_file: {_text(keys.certificate)}, key_file: {_text(keys.key)}"
    return f"""\
server_name: {_text(node.name)}
listen: "127.0.0.1:{node.client_port}"
http: "127.0.0.1:{node.health_port}"
max_payload: {_MAX_PAYLOAD_BYTES}
max_connections: {limits.connections}
# A client that does not read is cut off before it fills the memory.
max_pending: {8 << 20}
write_deadline: "5s"
# A node that is to end hands its clients over at once; they spread their return themselves.
lame_duck_duration: "30s"
lame_duck_grace_period: "5s"
connect_error_reports: 100
logtime: true

authorization {{
  timeout: 10
  include "{USERS_NAME}"
}}

mqtt {{
  host: {_text(node.host)}
  port: {node.mqtt_port}
  tls {{ {files}, verify_and_map: true, timeout: 10 }}
  max_ack_pending: {limits.in_flight}
  ack_wait: "30s"
  stream_replicas: {replicas}
  consumer_replicas: {replicas}
}}

jetstream {{
  store_dir: {_text(store)}
  max_memory_store: {64 << 20}
  max_file_store: {limits.store_bytes}
}}

cluster {{
  name: "fieldloop"
  listen: "{node.host}:{node.route_port}"
  tls {{ {files}, timeout: 10 }}
  authorization {{ user: "{_ROUTE_USER}", password: {_text(secret)}, timeout: 10 }}
  routes: {json.dumps(routes)}
  no_advertise: true
}}
"""


def _text(value: object) -> str:
    return json.dumps(str(value))
