"""Agents as processes of their own, with sources that cannot be read again: what they accepted is counted once."""

import http.client
import json
import random
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.servers.local import LocalBroker, start_local_broker
from broker.tls import open_tls
from edge_agent.clock import SystemClock
from edge_agent.sensing.mqtt_link import MqttLink, MqttPlace
from tests.bundles import FEATURES
from tests.integration.agent.conftest import Fleet
from tests.integration.agent.mqtt_peer import Peer
from tests.integration.agent.station import Station
from tests.tls_broker import running_tls_broker, why_not
from tests.waiting import wait_until

N_ROWS = 60


def row_of(number: int) -> dict[str, float]:
    return {name: number / 10 - place for place, name in enumerate(FEATURES)}


def request_of(*rows: dict[str, float]) -> dict[str, Any]:
    values = [[row[name] for name in FEATURES] for row in rows]
    return {"inputs": [{"name": "rows", "datatype": "FP32", "shape": [len(rows), len(FEATURES)], "data": values}]}


class Client:
    """Posts rows to an agent."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, None if content is None else json.dumps(content))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def infer(self, *rows: dict[str, float]) -> tuple[int, dict[str, Any]]:
        status, answer = self.ask("POST", "/v2/models/toy/infer", request_of(*rows))
        return status, {output["name"]: output["data"] for output in answer["outputs"]} if status == 200 else answer

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/v2/health/ready")[0] == 200
        except OSError:
            return False


def counted_rows(fleet: Fleet) -> int:
    return fleet.receiver.rows("one")


def start(fleet: Fleet, station: Station) -> None:
    fleet.order(station, fleet.updates.publish(1))
    station.start()


@pytest.fixture
def rows_broker(tmp_path: Path, mosquitto: Path):
    del mosquitto
    running = start_local_broker(tmp_path / "rows-broker", kind="mosquitto")
    yield running
    running.stop()


def test_http_answers_every_row_and_each_is_counted_once_through_a_kill(one_fleet: Fleet, free_port: int):
    station = one_fleet.station(live=f'kind = "http"\nport = {free_port}', telemetry="max_window_s = 1.0")
    start(one_fleet, station)
    client = Client(free_port)
    wait_until(client.is_ready, 30, "the agent is ready")
    assert client.ask("GET", "/v2/health/live") == (200, {"live": True})
    ids: list[str] = []
    for number in range(N_ROWS):
        status, answer = client.infer(row_of(number))
        assert status == 200, answer
        ids += answer["prediction_id"]
        if number == N_ROWS // 2:
            # Its last rows were answered, and no window of them is durable.
            station.kill()
            station.start()
            wait_until(client.is_ready, 30, "the agent is ready again")
    assert len(set(ids)) == N_ROWS
    wait_until(lambda: counted_rows(one_fleet) == N_ROWS, 20, "every answered row is counted")
    assert {answer["id"] for answer in station.answered_rows().values()} == set(ids)
    assert station.stop() == 0


def test_mqtt_rows_are_counted_once_and_answered_on_a_topic_through_a_kill(one_fleet: Fleet, rows_broker: LocalBroker):
    port = rows_broker.endpoint.port
    station = one_fleet.station(
        live=f'kind = "mqtt"\ntopic = "press/+/rows"\nport = {port}',
        sink=f'kind = "mqtt"\ntopic = "press/answers"\nport = {port}',
        telemetry="max_window_s = 1.0",
    )
    start(one_fleet, station)
    with Peer(rows_broker.endpoint, "press/answers") as peer:
        # Before the agent has ever subscribed, a broker keeps nothing for it.
        wait_until(lambda: "linked to the broker" in station.log.read_text(), 30, "the agent has subscribed")
        for number in range(N_ROWS):
            peer.publish("press/7/rows", json.dumps(row_of(number)).encode())
            if number == N_ROWS // 2:
                station.kill()
            if number == N_ROWS // 2 + 10:
                station.start()
        wait_until(lambda: counted_rows(one_fleet) >= N_ROWS, 30, "every row is counted")
        wait_until(lambda: len({answer["id"] for answer in peer.answers()}) == N_ROWS, 10, "every row is answered")
    assert counted_rows(one_fleet) == N_ROWS
    assert station.stop() == 0


def test_lines_on_a_socket_are_counted_and_answers_stand_on_standard_output(one_fleet: Fleet):
    station = one_fleet.station(
        live='kind = "socket"\npath = "rows.sock"', sink='kind = "stdout"', telemetry="max_window_s = 0.5"
    )
    start(one_fleet, station)
    path = station.folder / "rows.sock"
    wait_until(path.exists, 20, "the socket is there")
    with socket.socket(socket.AF_UNIX) as writer:
        writer.connect(str(path))
        for number in range(N_ROWS):
            writer.sendall(json.dumps(row_of(number)).encode() + b"\nno row\n")
    wait_until(lambda: counted_rows(one_fleet) == 2 * N_ROWS, 20, "every row is counted")
    refused = sum(count for w in one_fleet.receiver.windows("one") for _, count in w.rows_refused)
    assert refused == N_ROWS
    assert station.log.read_text().count('{"id":"one.') == N_ROWS
    assert station.stop() == 0
    assert not path.exists()


def test_without_a_bundle_http_is_alive_and_not_ready(one_fleet: Fleet, free_port: int):
    station = one_fleet.station(live=f'kind = "http"\nport = {free_port}')
    station.start()
    client = Client(free_port)
    wait_until(lambda: is_served(lambda: client.ask("GET", "/v2/health/live")), 20, "the agent serves")
    assert client.ask("GET", "/v2/health/ready") == (400, {"ready": False})
    status, answer = client.infer(row_of(1))
    assert (status, answer) == (503, {"error": "no bundle scores yet"})
    assert station.stop() == 0


def is_served(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except OSError:
        return False
    return True


def test_many_clients_at_once_get_their_own_answers_while_a_bundle_takes_over(one_fleet: Fleet, free_port: int):
    first, second = one_fleet.updates.publish(1), one_fleet.updates.publish(2)
    station = one_fleet.station(live=f'kind = "http"\nport = {free_port}', telemetry="max_window_s = 1.0")
    one_fleet.order(station, first)
    station.start()
    client = Client(free_port)
    wait_until(client.is_ready, 30, "the agent is ready")
    failures: list[object] = []
    answered: list[str] = []
    over = threading.Event()

    def ask(seed: int) -> None:
        number = seed
        while not over.is_set():
            status, answer = client.infer(row_of(number), row_of(-number))
            if status != 200 or answer["label"] != [label_of(number), label_of(-number)]:
                failures.append((number, status, answer))
                return
            answered.extend(answer["prediction_id"])
            number = number % 50 + 20

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(20, 24)]
    for thread in threads:
        thread.start()
    try:
        one_fleet.wait_committed(station, first)
        one_fleet.order(station, second)
        one_fleet.wait_committed(station, second)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(set(answered)) == len(answered)
    wait_until(lambda: counted_rows(one_fleet) == len(answered), 20, "every answered row is counted")
    assert station.stop() == 0


def label_of(number: int) -> str:
    """What every version answers to a row far from its boundary."""
    return "high" if sum(row_of(number).values()) > 0 else "low"


def test_mqtt_rows_and_answers_travel_under_tls_by_user_and_password_and_nothing_tells_the_password(
    one_fleet: Fleet, tmp_path: Path
):
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    secret = "not-to-be-seen-7f3"
    with running_tls_broker(tmp_path / "rows-broker", {"press": secret}) as broker:
        place = (
            f'kind = "mqtt"\nport = {broker.endpoint.port}\nca = "{broker.ca}"\nusername = "press"\n'
            'password_file = "password.txt"\n'
        )
        station = one_fleet.station(
            live=f'{place}topic = "press/+/rows"',
            sink=f'{place}topic = "press/answers"',
            telemetry="max_window_s = 0.5",
        )
        password = station.folder / "password.txt"
        password.write_text("wrong\n", encoding="utf-8")
        password.chmod(0o600)
        start(one_fleet, station)
        wait_until(lambda: "the broker refused" in station.log.read_text(), 30, "a wrong password is refused and told")
        station.stop()
        password.write_text(f"{secret}\n", encoding="utf-8")
        station.start()
        told = f"linked to the broker at {broker.endpoint}"
        wait_until(lambda: told in station.log.read_text(), 30, "the source is let in")
        with Peer(broker.plain, "press/answers") as peer:
            for number in range(N_ROWS):
                peer.publish("press/7/rows", json.dumps(row_of(number)).encode())
            wait_until(lambda: len({answer["id"] for answer in peer.answers()}) == N_ROWS, 30, "every row is answered")
        assert station.process is not None
        # Neither the arguments nor the environment hold it, nor what the agent tells of itself.
        for name in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{station.process.pid}/{name}").read_bytes()
        archive = tmp_path / "support.tar.gz"
        command = [sys.executable, "-P", "-m", "edge_agent", "diagnose", "--settings", str(station.settings)]
        subprocess.run(
            [*command, "--out", str(archive), "--log", str(station.log)], check=True, cwd=station.folder, timeout=60
        )
        with tarfile.open(archive) as members:
            for member in members:
                file = members.extractfile(member)
                assert file is not None
                assert secret.encode() not in file.read()
        assert station.stop() == 0
        assert secret not in station.log.read_text()
        assert not [path for path in (station.folder / "state").rglob("*") if holds(path, secret)]


def holds(path: Path, secret: str) -> bool:
    return path.is_file() and secret.encode() in path.read_bytes()


def test_a_local_broker_of_another_authority_gets_neither_rows_nor_the_password(tmp_path: Path):
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with (
        running_tls_broker(tmp_path / "rows-broker", {"press": "secret"}) as broker,
        running_tls_broker(tmp_path / "other") as other,
    ):
        endpoint = broker.endpoint
        tls = open_tls(str(other.ca), None, None)
        place = MqttPlace(endpoint.host, endpoint.port, "rows", "press", "secret", tls)
        assert "secret" not in repr(place)
        link = MqttLink(place, random.Random(1), SystemClock(), "rows", lambda _: True)
        link.start()
        wait_until(lambda: link._failures >= 2, 20, "it was tried")
        assert not link.is_up
        link.close()
        assert "press" not in (tmp_path / "rows-broker" / "mosquitto.log").read_text()
