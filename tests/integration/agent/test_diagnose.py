"""The support archive holds what helps, and nothing that must not leave the device."""

import json
import os
import subprocess
import sys
import tarfile
from typing import Any

import pytest

from tests.integration.agent.conftest import Fleet
from tests.integration.agent.station import Station

SECRET = "correct-horse-battery"
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"


def diagnose(
    station: Station, *arguments: str, env: dict[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str], str]:
    """Return what the command said, the archive's files by name, and all that stands in them."""
    out = station.folder / "support.tar.gz"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "edge_agent", "diagnose", "--json", "--settings", str(station.settings)]
    ran = subprocess.run(
        [*command, "--out", str(out), *arguments],
        capture_output=True,
        check=True,
        cwd=station.folder,
        env=os.environ | (env or {}),
    )
    files: dict[str, str] = {}
    with tarfile.open(out) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            files[member.name.rpartition("/")[2]] = content.read().decode()
    assert out.stat().st_mode & 0o777 == 0o600
    return json.loads(ran.stdout), files, "".join(files.values())


def test_a_running_agent_is_asked_and_what_it_does_is_told(one_fleet: Fleet):
    station = one_fleet.station(n_rows=100)
    first = one_fleet.updates.publish(1)
    one_fleet.order(station, first)
    station.start()
    one_fleet.wait_committed(station, first)
    told, files, _ = diagnose(station, "--log", str(station.log))
    assert told["agent_answered"] is True
    assert json.loads(files["status.json"])["bundle"] == "toy/1"
    assert json.loads(files["agent.json"])["update"]["running"] == "toy/1"
    assert json.loads(files["settings.json"])["repository"]["model"] == "toy"
    assert json.loads(files["update.json"])["roles"]["active"] == "a"
    assert "committed" in files["log.txt"]
    assert "slots/a/model.onnx" in [file["name"] for file in json.loads(files["files.json"])]
    assert "msgspec" in json.loads(files["about.json"])["packages"]
    station.stop()
    told, files, _ = diagnose(station)
    assert told["agent_answered"] is False
    assert "agent.json" not in files


def test_no_secret_and_no_private_key_gets_in(one_fleet: Fleet):
    station = one_fleet.station(n_rows=10)
    station.url = f"http://somebody:{SECRET}@127.0.0.1:1/path"
    station.write_settings()
    first = one_fleet.updates.publish(1)
    one_fleet.order(station, first)
    station.start()
    one_fleet.wait_for_event(station, "error")
    station.stop()
    state = station.folder / "state"
    for place in (state / "device.pem", state / "slots" / "a" / "key.pem", station.folder / "key.pem"):
        place.write_text(KEY)
    log = station.folder / "some.log"
    log.write_text(f"{KEY}\npassword: {SECRET}\nhttp://a:{SECRET}@b/\n{SECRET}\nplain words\n")
    _, files, everything = diagnose(station, "--log", str(log), env={"FIELDLOOP_BROKER_PASSWORD": SECRET})
    assert SECRET not in everything
    assert "PRIVATE KEY" not in everything
    assert "plain words" in files["log.txt"]
    assert "(left out)@127.0.0.1:1/path" in json.loads(files["settings.json"])["repository"]["url"]


def test_an_archive_that_is_there_is_not_replaced(one_fleet: Fleet):
    station = one_fleet.station(n_rows=10)
    station.write_settings()
    out = station.folder / "mine.tar.gz"
    out.write_bytes(b"mine")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        diagnose(station, "--out", str(out))
    assert failed.value.returncode == 74
    assert out.read_bytes() == b"mine"
