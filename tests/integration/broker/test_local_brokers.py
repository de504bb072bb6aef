"""Brokers on loopback: they start on free or given ports, say why not, and never outlive who started them."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import BrokerStartError
from broker.servers import local, process
from broker.servers.local import LOG_NAME, start_local_broker
from broker.servers.mosquitto import find_mosquitto
from broker.servers.unpacked import cache_folder, find_unpacked, unpack_mosquitto
from broker.topics import Channel, Topic, fleet_filter, parse_device, parse_fleet
from tests.waiting import wait_until

FLEET = parse_fleet("stations")
DESIRED = Topic(FLEET, parse_device("station-07"), Channel.DESIRED)
Kind = Literal["mosquitto", "unpacked", "amqtt"]


@pytest.fixture(params=[pytest.param("mosquitto", marks=pytest.mark.mosquitto), "unpacked", "amqtt"])
def kind(request) -> Kind:
    found: Kind = request.param
    if found == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    if found == "unpacked":
        skip_without_unpacked()
    return found


def skip_without_unpacked() -> None:
    """Unpack one unless it was before; skip where apt is not at hand, or reaches nothing."""
    cache = cache_folder()
    try:
        if find_unpacked(cache) is None:
            unpack_mosquitto(cache)
    except BrokerStartError as error:
        pytest.skip(f"no mosquitto can be unpacked here: {error}")


def client_of(endpoint: Endpoint, name: str, inbox: list[Delivery]) -> WireClient:
    filters = (fleet_filter(FLEET, Channel.DESIRED),)
    return WireClient(endpoint, name, filters=filters, on_delivery=inbox.append, rng=random.Random(1))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie, which nobody has waited for yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def listening_addresses(port: int) -> set[str]:
    """Local addresses on which somebody listens on a port, as Linux tells them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            local_address, state = line.split()[1], line.split()[3]
            address, _, hex_port = local_address.rpartition(":")
            if state == "0A" and int(hex_port, 16) == port:
                found.add(address)
    return found


def test_a_broker_runs_in_its_own_process_on_loopback_only_until_it_is_stopped(kind, tmp_path):
    broker = start_local_broker(tmp_path, kind=kind)
    try:
        assert broker.kind == kind
        assert broker.is_running
        assert broker.pid != os.getpid()
        assert listening_addresses(broker.endpoint.port) == {"0100007F"}
    finally:
        broker.stop()
    assert not broker.is_running
    assert not is_alive(broker.pid)
    broker.stop()


def test_two_brokers_get_different_ports(kind, tmp_path):
    brokers = [start_local_broker(tmp_path / str(n), port=0, kind=kind) for n in range(2)]
    try:
        assert brokers[0].endpoint != brokers[1].endpoint
    finally:
        for broker in brokers:
            broker.stop()


def test_a_port_that_another_program_takes_meanwhile_is_given_up_for_another(kind, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        picks = iter([taken.getsockname()[1], taken.getsockname()[1], local.pick_free_port()])
        monkeypatch.setattr(local, "pick_free_port", lambda: next(picks))
        broker = start_local_broker(tmp_path, kind=kind)
        try:
            assert broker.endpoint.port != taken.getsockname()[1]
        finally:
            broker.stop()


def test_a_given_port_that_is_taken_is_an_error_with_the_brokers_own_words(kind, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerStartError, match=rf"(?is){kind} on 127.0.0.1:{port} ended.*address already in use"):
            start_local_broker(tmp_path, port=port, kind=kind)
        with pytest.raises(BrokerStartError, match=r"(?i)address already in use"):
            start_local_broker(tmp_path, port=port)


def test_what_fails_to_start_is_shown_with_the_last_lines_of_its_log(tmp_path, monkeypatch):
    broken = tmp_path / "bin" / "mosquitto"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'the library is missing' >&2\nexit 127\n", encoding="ascii")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")

    with pytest.raises(BrokerStartError, match="ended with code 127:\nthe library is missing"):
        start_local_broker(tmp_path / "run", kind="mosquitto")


def test_auto_falls_back_to_the_embedded_broker_when_the_installed_one_does_not_start(tmp_path, monkeypatch, caplog):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("mosquitto", "apt-get", "apt-cache"):
        broken = programs / name
        broken.write_text("#!/bin/sh\necho 'no network' >&2\nexit 127\n", encoding="ascii")
        broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    with caplog.at_level("INFO"):
        broker = start_local_broker(tmp_path / "run", cache=tmp_path / "cache")
    broker.stop()

    assert broker.kind == "amqtt"
    assert "no broker of kind mosquitto, the next one is tried" in caplog.text
    assert "no broker of kind unpacked" in caplog.text
    assert "no network" in caplog.text
    assert not list((tmp_path / "cache").iterdir()), "what was begun is taken away"


def test_auto_unpacks_a_mosquitto_where_none_is_installed(tmp_path, monkeypatch):
    skip_without_unpacked()
    monkeypatch.setattr("broker.servers.mosquitto.find_mosquitto", lambda: None)
    broker = start_local_broker(tmp_path)
    try:
        assert broker.kind == "unpacked"
        program = Path(f"/proc/{broker.pid}/exe").resolve()
        assert program.is_relative_to(cache_folder().resolve())
    finally:
        broker.stop()


@pytest.mark.slow
def test_libraries_that_the_machine_has_not_are_unpacked_too_and_loaded_from_there(tmp_path, monkeypatch):
    real = shutil.which("dpkg-query")
    skip_without_unpacked()
    hiding = tmp_path / "bin" / "dpkg-query"
    hiding.parent.mkdir()
    hiding.write_text(f'#!/bin/sh\n{real} "$@" | grep -v -e libcjson -e libdlt2\n', encoding="ascii")
    hiding.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hiding.parent}:{os.environ['PATH']}")

    broker = start_local_broker(tmp_path / "run", kind="unpacked", cache=tmp_path / "cache")
    try:
        loaded = Path(f"/proc/{broker.pid}/maps").read_text(encoding="ascii")
    finally:
        broker.stop()
    assert re.search(rf"{tmp_path}/cache/mosquitto/usr/lib/\S+/libdlt", loaded)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name != "mosquitto"]


def test_an_unpacked_one_that_runs_no_longer_is_made_anew(tmp_path):
    skip_without_unpacked()
    program = tmp_path / "mosquitto" / "usr" / "sbin" / "mosquitto"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    assert find_unpacked(tmp_path) is None
    assert unpack_mosquitto(tmp_path).program == program
    assert find_unpacked(tmp_path) is not None


def test_a_broker_that_never_becomes_ready_is_ended_and_told(tmp_path, monkeypatch):
    silent = tmp_path / "bin" / "mosquitto"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\necho starting; exec sleep 60\n", encoding="ascii")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{silent.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(process, "_START_S", 0.5)
    before = children()

    with pytest.raises(BrokerStartError, match=r"not ready after 0\.5 s:\nstarting"):
        start_local_broker(tmp_path / "run", kind="mosquitto")
    assert children() == before


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())


@pytest.mark.mosquitto
def test_mosquitto_finds_its_retained_messages_again_after_a_restart(tmp_path):
    if find_mosquitto() is None:
        pytest.skip("no mosquitto is installed: apt-get install mosquitto")
    first = start_local_broker(tmp_path, kind="mosquitto")
    writer = client_of(first.endpoint, "writer", [])
    writer.start()
    wait_until(lambda: writer.is_connected)
    writer.publish_and_wait(DESIRED, b"kept", 10)
    writer.close()
    first.stop()

    second = start_local_broker(tmp_path, kind="mosquitto")
    inbox: list[Delivery] = []
    reader = client_of(second.endpoint, "reader", inbox)
    reader.start()
    try:
        wait_until(lambda: inbox)
    finally:
        reader.close()
        second.stop()
    assert inbox == [Delivery(DESIRED, b"kept", retained=True)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_broker_dies_with_the_process_that_started_it(kind, tmp_path, how):
    command = [sys.executable, "-m", "tests.integration.broker.starts_a_broker", str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        assert is_alive(pid)
        assert listening_addresses(port)
        parent.send_signal(how)

    wait_until(lambda: not is_alive(pid), what="the broker is gone")
    assert not listening_addresses(port)


@pytest.fixture
def broker_up(kind, tmp_path) -> Iterator[subprocess.Popen[str]]:
    code = "from broker.cli import app; app()"
    options = ["--kind", kind, "--port", "0", "--folder", str(tmp_path), "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", code, "broker", "up", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_the_endpoint_and_ends_its_broker_on_ctrl_c(broker_up, kind, how, tmp_path):
    assert broker_up.stdout is not None
    facts = json.loads(broker_up.stdout.readline())
    assert facts["kind"] == kind
    assert facts["host"] == "127.0.0.1"
    assert facts["log"] == str(tmp_path / LOG_NAME)
    with socket.create_connection((facts["host"], facts["port"]), 10):
        broker_up.send_signal(how)
        assert broker_up.wait(20) == 0
    assert not is_alive(facts["pid"])


def test_the_command_ends_with_an_error_when_its_broker_dies(broker_up):
    assert broker_up.stdout is not None
    assert broker_up.stderr is not None
    facts = json.loads(broker_up.stdout.readline())
    os.kill(facts["pid"], signal.SIGKILL)
    assert broker_up.wait(20) == 1
    assert "the broker ended by itself with code -9" in broker_up.stderr.read()


def test_the_embedded_broker_as_a_program_refuses_another_interface(tmp_path):
    command = [sys.executable, "-m", "broker.servers.embedded", "--host", "0.0.0.0", "--port", "1883"]  # noqa: S104
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "listens on loopback only, not on '0.0.0.0'" in result.stderr
