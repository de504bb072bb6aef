"""`fieldloop broker render` writes what Mosquitto and systemd accept; `broker up --fleet` runs it and follows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.client import Endpoint
from broker.errors import BrokerStartError
from broker.identity.names import Role
from broker.servers.bare_client import BareClient
from broker.servers.fleet import FleetBroker
from broker.servers.mosquitto import find_mosquitto
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter
from tests.fleet_broker import TestFleet
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="no mosquitto here: apt-get install mosquitto"),
]
STATUS = str(Topic(FleetId("plant"), DeviceId("press-1"), Channel.STATUS))


def test_render_writes_files_that_only_the_owner_reads_and_that_hold_no_key(tmp_path):
    fleet = TestFleet(tmp_path)
    fleet.issue(Role.DEVICE, "press-1")
    out = tmp_path / "out"
    options = ["--fleet", str(fleet.path), "--folder", str(out), "--user", "fieldloop", "--port", "8883", "--json"]
    result = CliRunner().invoke(app, ["broker", "render", *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert (told["active"], told["revoked"]) == (1, 0)
    config = Path(told["config"]).read_text(encoding="utf-8")
    for line in ("require_certificate true", "allow_anonymous false", "tls_version tlsv1.2", "user fieldloop"):
        assert line in config.splitlines()
    assert "tcp dport 8883" in Path(told["firewall"]).read_text(encoding="ascii")
    for file in (told["config"], told["rules"]):
        assert Path(file).stat().st_mode & 0o077 == 0
    assert not [path for path in out.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


def test_the_drop_in_is_what_systemd_understands(tmp_path):
    analyze, unit = shutil.which("systemd-analyze"), Path("/lib/systemd/system/mosquitto.service")
    if analyze is None or not unit.is_file():
        pytest.skip("no systemd-analyze, or no mosquitto.service, here")
    fleet = TestFleet(tmp_path)
    options = ["--fleet", str(fleet.path), "--user", "root"]
    assert CliRunner().invoke(app, ["broker", "render", *options]).exit_code == 0
    drop_in = tmp_path / "system" / "mosquitto.service.d" / "fieldloop.conf"
    drop_in.parent.mkdir(parents=True)
    shutil.copy(fleet.path / "broker" / "fieldloop.conf", drop_in)
    shutil.copy(unit, tmp_path / "system" / "mosquitto.service")
    command = [analyze, "verify", "--man=no", str(tmp_path / "system" / "mosquitto.service")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "mosquitto.service" not in result.stderr.replace("/mosquitto.service.d/", ""), result.stderr


def test_a_folder_that_is_no_fleets_is_told(tmp_path):
    result = CliRunner().invoke(app, ["broker", "render", "--fleet", str(tmp_path)])
    assert result.exit_code == 1
    assert "fieldloop fleet init makes one" in result.stderr


def test_the_command_runs_a_broker_that_follows_revocations_by_itself(tmp_path):
    fleet = TestFleet(tmp_path)
    device, reader = fleet.issue(Role.DEVICE, "press-1"), fleet.issue(Role.READER, "wall")
    code = "from broker.cli import app; app()"
    options = ["--fleet", str(fleet.path), "--port", "0", "--host", "127.0.0.1", "--json"]
    command = [sys.executable, "-c", code, "broker", "up", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            facts = json.loads(process.stdout.readline())
            endpoint = Endpoint(facts["host"], facts["port"])
            with (
                BareClient(endpoint, "x", tls=reader.context()) as ear,
                BareClient(endpoint, "x", tls=device.context()) as client,
            ):
                ear.subscribe(fleet_filter(FleetId("plant"), Channel.STATUS), 0)
                client.publish(STATUS, b"before")
                ear.ping()
                assert len(ear.received) == 1
                fleet.revoke(Role.DEVICE, "press-1")
                wait_until(lambda: b"Reloading config" in Path(facts["log"]).read_bytes(), what="it follows")
                client.publish(STATUS, b"after")
                ear.ping()
                assert len(ear.received) == 1
        finally:
            process.terminate()
        assert process.wait(20) == 0


def test_without_the_servers_key_it_says_what_makes_it(tmp_path):
    fleet = TestFleet(tmp_path)
    fleet.folder.server_key.unlink()
    program = find_mosquitto()
    assert program is not None
    with pytest.raises(BrokerStartError, match="fieldloop fleet init"):
        FleetBroker(program, fleet.plan(), fleet.register.view)
