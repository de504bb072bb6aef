"""The files of a cluster: whole for each node, secrets for their owner alone, and the command that writes them."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.errors import BrokerStartError
from broker.identity.names import Role
from broker.servers.nats import CONFIG_NAME, USERS_NAME, Limits, parse_nodes
from broker.servers.nats_cluster import write_cluster
from tests.fleet_broker import CLOCK, TestFleet

NODES = parse_nodes(["n1=127.0.0.1", "n2=127.0.0.2", "n3=127.0.0.3"])
YEAR_S = 365 * 86400.0


@pytest.fixture
def fleet(tmp_path) -> TestFleet:
    made = TestFleet(tmp_path)
    made.issue(Role.DEVICE, "press-1")
    return made


def write(fleet: TestFleet, later_s: float = 0.0):
    return write_cluster(fleet.folder, fleet.path / "nats", NODES, Limits(), CLOCK.utc_s() + later_s)


def test_each_node_gets_a_folder_that_is_complete_and_no_secret_is_for_others(fleet):
    written = write(fleet)
    assert [config.parent.name for config in written.configs] == ["n1", "n2", "n3"]
    for config in written.configs:
        names = {"ca.pem", "node.pem", "node.key", USERS_NAME, CONFIG_NAME, "state"}
        assert {path.name for path in config.parent.iterdir()} == names
        for secret in ("node.key", USERS_NAME, CONFIG_NAME):
            assert (config.parent / secret).stat().st_mode & 0o077 == 0
        assert config.parent.stat().st_mode & 0o077 == 0
    assert (fleet.path / "nats" / "cluster.secret").stat().st_mode & 0o077 == 0


def test_written_again_the_secret_and_good_certificates_stay_and_the_users_are_new(fleet):
    config = write(fleet).configs[0]
    before = {path.name: path.read_bytes() for path in config.parent.iterdir() if path.is_file()}
    fleet.issue(Role.DEVICE, "press-2")
    assert write(fleet).active == 2
    after = {path.name: path.read_bytes() for path in config.parent.iterdir() if path.is_file()}
    assert {name for name in before if before[name] != after[name]} == {USERS_NAME}


def test_a_certificate_with_little_left_is_replaced(fleet):
    config = write(fleet).configs[0]
    old = (config.parent / "node.pem").read_bytes()
    write(fleet, YEAR_S)
    assert (config.parent / "node.pem").read_bytes() != old


def test_a_nodes_certificate_is_good_for_a_server_and_for_a_client_and_for_its_hosts(fleet):
    folder = write(fleet).configs[1].parent
    command = ["openssl", "x509", "-in", str(folder / "node.pem"), "-noout", "-text"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    for host in ("IP Address:127.0.0.2", "IP Address:127.0.0.1", "DNS:localhost"):
        assert host in text
    assert "CN = node:n2" in text


def test_a_folder_that_cannot_be_written_is_told(fleet):
    (fleet.path / "nats").write_text("in the way")
    with pytest.raises(BrokerStartError, match="cannot be written"):
        write(fleet)


def test_the_command_writes_a_cluster_and_tells_where(fleet):
    nodes = [word for n in (1, 2, 3) for word in ("--nats", f"n{n}=127.0.0.{n}")]
    result = CliRunner().invoke(app, ["broker", "render", "--fleet", str(fleet.path), *nodes, "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["active"] == 1
    assert facts["configs"] == [str(fleet.path / "nats" / f"n{n}" / CONFIG_NAME) for n in (1, 2, 3)]


def test_the_command_says_what_is_wrong_with_nodes(fleet):
    result = CliRunner().invoke(app, ["broker", "render", "--fleet", str(fleet.path), "--nats", "n1"])
    assert result.exit_code == 1
    assert "write NAME=HOST" in result.output
