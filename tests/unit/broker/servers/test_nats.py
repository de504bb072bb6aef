"""What a node of a NATS cluster is told, as pure text."""

import re
from pathlib import Path

import pytest

from broker.errors import BrokerStartError
from broker.messages import MAX_PACKET_BYTES
from broker.servers.nats import USERS_NAME, Keys, Limits, find_nats_server, parse_nodes, render_node

NODES = parse_nodes(["n1=10.0.0.1", "n2=10.0.0.2", "n3=nats-3.plant.example:9000"])
KEYS = Keys(Path("/x/ca.pem"), Path("/x/node.pem"), Path("/x/node.key"))
LIMITS = Limits(connections=77, store_bytes=99, in_flight=5)


def render(at: int = 0) -> str:
    return render_node(NODES[at], NODES, KEYS, Path("/x/state"), "s3cret", LIMITS)


def test_nodes_are_read_from_names_and_hosts():
    assert [(node.name, node.host, node.mqtt_port, node.route_port) for node in NODES] == [
        ("n1", "10.0.0.1", 8883, 6222),
        ("n2", "10.0.0.2", 8883, 6222),
        ("n3", "nats-3.plant.example", 9000, 6222),
    ]


def test_nodes_at_one_host_get_ports_of_their_own():
    nodes = parse_nodes(["a=h", "b=h", "c=h"])
    for kind in ("mqtt_port", "route_port", "client_port", "health_port"):
        assert len({getattr(node, kind) for node in nodes}) == 3


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["n1"], "write NAME=HOST"),
        (["n1=h;x", "n2=b", "n3=c"], "write NAME=HOST"),
        (["N1=a", "n2=b", "n3=c"], "write NAME=HOST"),
        (["n1=a", "n1=b", "n3=c"], "one name"),
        (["n1=a:1", "n2=a:1", "n3=c"], "one address"),
        (["n1=a", "n2=b"], "2 nodes"),
        (["n1=a", "n2=b", "n3=c", "n4=d"], "4 nodes"),
        (["n1=a:70000", "n2=b", "n3=c"], "70000"),
    ],
)
def test_what_is_no_cluster_is_refused_with_the_reason(texts, why):
    with pytest.raises(BrokerStartError, match=why):
        parse_nodes(texts)


def test_a_node_takes_mqtt_by_certificate_only_and_nothing_else_from_outside():
    text = render()
    assert "verify_and_map: true" in text
    assert 'listen: "127.0.0.1:4222"' in text
    assert 'http: "127.0.0.1:8222"' in text
    assert f'include "{USERS_NAME}"' in text
    assert "no_auth_user" not in text


def test_a_node_is_bounded():
    text = render()
    assert "max_connections: 77" in text
    assert "max_file_store: 99" in text
    assert "max_ack_pending: 5" in text
    payload = re.search(r"max_payload: (\d+)", text)
    assert payload is not None
    assert int(payload[1]) > MAX_PACKET_BYTES


def test_a_node_connects_to_the_others_and_not_to_itself_and_shows_them_the_secret():
    text = render(1)
    assert "nats-route://node:s3cret@10.0.0.1:6222" in text
    assert "nats-route://node:s3cret@nats-3.plant.example:6222" in text
    assert "node:s3cret@10.0.0.2" not in text
    assert 'password: "s3cret"' in text


def test_every_stream_has_three_replicas():
    assert "stream_replicas: 3" in render()
    assert "consumer_replicas: 3" in render()


def test_the_program_is_found_in_a_given_path(tmp_path):
    assert find_nats_server(str(tmp_path)) is None
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_nats_server(str(tmp_path)) == program
