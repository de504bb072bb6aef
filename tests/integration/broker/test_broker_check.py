"""`fieldloop broker check` says of real brokers what is true of them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.client import Endpoint
from broker.identity.names import Role
from broker.servers.bare_client import BareClient
from broker.servers.local import start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.servers.process import LocalBroker, start_broker_process
from broker.topics import Channel, FleetId, fleet_filter
from tests.fleet_broker import TestFleet, link
from tests.ports import free_port

RUN = CliRunner()
REQUIRED = {"QoS 1", "retained messages", "last will", "largest message"}
NEEDS_MOSQUITTO = pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto")


def missing_of(*arguments: str) -> set[str]:
    """Run the command; return the features that do not hold."""
    result = RUN.invoke(app, ["broker", "check", *arguments, "--json"])
    assert result.output.startswith("{"), result.output + result.stderr
    told = json.loads(result.output)
    missing = {feature["name"] for feature in told["features"] if not feature["holds"]}
    assert told["suits"] == (result.exit_code == 0)
    return missing


@pytest.mark.mosquitto
@NEEDS_MOSQUITTO
def test_mosquitto_for_a_fleet_does_all_of_it_and_nothing_is_left_behind(tmp_path):
    fleet = TestFleet(tmp_path)
    who = fleet.issue(Role.TRAINER, "loop")
    with fleet.broker() as broker:
        url = f"mqtts://127.0.0.1:{broker.process.endpoint.port}"
        credentials = ["--ca", str(who.ca), "--cert", str(who.certificate), "--key", str(who.key)]
        assert missing_of(url, *credentials, "--fleet", "plant") == set()
        with link(broker, fleet.issue(Role.READER, "wall")) as ear:
            broker.follow()
            for channel in Channel:
                ear.subscribe(fleet_filter(FleetId("plant"), channel))
            ear.ping()
            assert not ear.received


@pytest.mark.mosquitto
@NEEDS_MOSQUITTO
def test_the_local_mosquitto_lets_everybody_in_and_does_all_else(tmp_path):
    broker = start_local_broker(tmp_path, kind="mosquitto")
    try:
        assert missing_of(f"mqtt://{broker.endpoint}") == {"certificate needed", "access rules"}
        table = RUN.invoke(app, ["broker", "check", f"mqtt://{broker.endpoint}"])
    finally:
        broker.stop()
    assert table.exit_code == 0
    assert "suits: all that is required holds" in table.output


def test_amqtt_does_what_is_required_and_forgets_absent_clients(tmp_path):
    broker = start_local_broker(tmp_path, kind="amqtt")
    try:
        missing = missing_of(f"mqtt://{broker.endpoint}")
    finally:
        broker.stop()
    assert missing >= {"persistent session", "redelivery after a cut", "access rules"}
    assert not missing & REQUIRED


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[LocalBroker]:
    program = shutil.which("nats-server")
    if program is None:
        pytest.skip("no nats-server here: apt-get install nats-server")
    port, config = free_port(), tmp_path / "nats.conf"
    config.write_text(
        f'server_name: one\nport: {free_port()}\njetstream {{ store_dir: "{tmp_path}/js" }}\n'
        f"mqtt {{ host: 127.0.0.1, port: {port} }}\n",
        encoding="ascii",
    )
    endpoint = Endpoint("127.0.0.1", port)
    command = [program, "-c", str(config)]
    broker = start_broker_process(command, rb"Server is ready", endpoint=endpoint, kind="nats", folder=tmp_path)
    yield broker
    broker.stop()


def test_nats_is_asked_the_same_questions(nats):
    missing = missing_of(f"mqtt://{nats.endpoint}")
    assert "persistent session" not in missing
    assert not missing & (REQUIRED - {"largest message"})


@pytest.mark.mosquitto
@NEEDS_MOSQUITTO
def test_a_broker_without_a_required_feature_does_not_suit(tmp_path):
    port, config = free_port(), tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nretain_available false\nmax_packet_size 100000\nuser root\n",
        encoding="ascii",
    )
    program = find_mosquitto()
    assert program is not None
    endpoint = Endpoint("127.0.0.1", port)
    command = [str(program), "-c", str(config)]
    broker = start_broker_process(command, rb"running", endpoint=endpoint, kind="mosquitto", folder=tmp_path)
    try:
        result = RUN.invoke(app, ["broker", "check", f"mqtt://{endpoint}"])
        BareClient(endpoint, "still-there").close()
    finally:
        broker.stop()
    assert result.exit_code == 1
    assert "MISS retained messages" in result.output
    assert "MISS largest message" in result.output
    assert "a device that was away never hears of its order" in result.output


def test_a_certificate_without_the_rights_that_are_tried_is_refused_before_anything_is(tmp_path):
    who = TestFleet(tmp_path).issue(Role.READER, "wall")
    credentials = ["--ca", str(who.ca), "--cert", str(who.certificate), "--key", str(who.key)]
    result = RUN.invoke(app, ["broker", "check", f"mqtts://127.0.0.1:{free_port()}", *credentials])
    assert result.exit_code == 1
    assert "is reader:wall" in result.stderr
    assert "person add trainer:check" in result.stderr


@pytest.mark.parametrize(
    "url", ["127.0.0.1:1883", "http://127.0.0.1:1883", "mqtt://", "mqtt://a:b@127.0.0.1", "mqtt://h/x"]
)
def test_what_is_no_address_of_a_broker_is_told(url):
    result = RUN.invoke(app, ["broker", "check", url])
    assert result.exit_code == 1
    assert "mqtt://HOST:PORT" in result.stderr


def test_where_nobody_listens_it_says_so():
    result = RUN.invoke(app, ["broker", "check", f"mqtt://127.0.0.1:{free_port()}"])
    assert result.exit_code == 1
    assert "Connection refused" in result.stderr


@pytest.mark.mosquitto
@NEEDS_MOSQUITTO
def test_a_broker_that_goes_away_while_it_is_tried_suits_nobody(tmp_path, monkeypatch):
    """One that is gone refuses everybody who has no certificate."""
    broker = start_local_broker(tmp_path, kind="mosquitto")

    def ends(_probe):
        broker.stop()
        return True, "it ended"

    monkeypatch.setattr("broker.servers.probes._long_keepalive", ends)
    result = RUN.invoke(app, ["broker", "check", f"mqtt://{broker.endpoint}"])
    assert result.exit_code == 1
    assert "Connection refused" in result.stderr
    assert "suits" not in result.output
