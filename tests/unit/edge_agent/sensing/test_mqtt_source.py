"""Rows of a topic: what a broker repeats is no second row, what was acknowledged is kept."""

import json
import random
import socket
import threading
from pathlib import Path

import pytest

from broker.servers.local import start_local_broker
from edge_agent.clock import SystemClock
from edge_agent.scoring.schema import Unreadable
from edge_agent.sensing import mqtt_source
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from edge_agent.sensing.json_rows import MAX_ROW_BYTES
from edge_agent.sensing.mqtt_link import Arrival, MqttLink, MqttPlace
from edge_agent.sensing.mqtt_source import MqttRows, parse_kept
from tests.integration.agent.mqtt_peer import Peer
from tests.waiting import wait_until

FEATURES = ("a", "b")


def open_inlet(folder: Path, max_waiting: int = 64, cursor: int = 0) -> Inlet:
    journal = Journal(folder / "kept", cursor, lambda: cursor, max_bytes=1 << 20, is_synced=True)
    return Inlet(journal, parse_kept, cursor, max_waiting)


def arrival(packet: int, payload: bytes = b"[1,2]", qos: int = 1, *, repeated: bool = False, retained: bool = False):
    return Arrival(payload, packet, qos, is_repeated=repeated, is_retained=retained)


def test_a_repeated_message_that_was_accepted_is_acknowledged_and_no_second_row(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    rows = MqttRows(inlet)
    assert rows.receive([arrival(1), arrival(2)])
    assert rows.receive([arrival(1, repeated=True), arrival(2, b"[3,4]", repeated=True), arrival(3, repeated=True)])
    # Another content under the same identifier, and one that never came, are rows.
    assert inlet.taken_in == 4


def test_a_message_of_the_same_content_that_is_not_repeated_is_a_row(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    rows = MqttRows(inlet)
    for _ in range(3):
        assert rows.receive([arrival(1)])
    assert inlet.taken_in == 3


def test_after_a_kill_what_the_journal_has_is_known_again(tmp_path: Path):
    MqttRows(open_inlet(tmp_path)).receive([arrival(7)])
    again = open_inlet(tmp_path, cursor=1)
    assert MqttRows(again).receive([arrival(7, repeated=True), arrival(8, repeated=True)])
    assert again.taken_in == 1


def test_a_retained_message_is_no_row(tmp_path: Path):
    inlet = open_inlet(tmp_path)
    assert MqttRows(inlet).receive([arrival(1, retained=True)])
    assert inlet.taken_in == 0


def test_without_room_messages_with_an_acknowledgement_get_none_and_the_others_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mqtt_source, "WAIT_S", 0.01)
    inlet = open_inlet(tmp_path, max_waiting=2)
    rows = MqttRows(inlet)
    assert rows.receive([arrival(1), arrival(2)])
    assert rows.receive([arrival(0, qos=0)])
    assert inlet.turned_away == 1
    assert not rows.receive([arrival(3)])
    assert inlet.turned_away == 1


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"1" * (MAX_ROW_BYTES + 1)])
def test_a_message_that_is_no_row_is_counted_as_one(tmp_path: Path, payload: bytes):
    inlet = open_inlet(tmp_path)
    assert MqttRows(inlet).receive([arrival(1, payload)])
    row = inlet.open(FEATURES, 0).next_row(0.0)
    assert row is not None
    assert isinstance(row.values, Unreadable)


def test_over_its_bound_the_broker_keeps_the_rows_and_none_is_lost(
    tmp_path: Path, mosquitto: Path, monkeypatch: pytest.MonkeyPatch
):
    del mosquitto
    monkeypatch.setattr(mqtt_source, "WAIT_S", 0.05)
    broker = start_local_broker(tmp_path / "broker", kind="mosquitto")
    inlet = open_inlet(tmp_path, max_waiting=5)
    source = inlet.open(FEATURES, 0)
    place = MqttPlace(broker.endpoint.host, broker.endpoint.port, "rows")
    link = MqttLink(place, random.Random(1), SystemClock(), "rows/#", MqttRows(inlet).receive)
    link.start()
    try:
        wait_until(lambda: link.is_up, 10, "the link is up")
        with Peer(broker.endpoint, "nothing") as peer:
            for number in range(100):
                peer.publish("rows/1", json.dumps([number, 0]).encode())
            wait_until(lambda: link._failures > 0, 20, "the link was cut")
            assert inlet.n_waiting <= 5
            taken: list[float] = []

            def has_all() -> bool:
                taken.extend(float(row.values[0] or 0) for row in source.ready_rows(5))
                return len(taken) >= 100

            wait_until(has_all, 60, "every row came")
        assert sorted(taken) == list(range(100))
        assert source.next_row(0.1) is None
    finally:
        inlet.close()
        link.close()
        broker.stop()


@pytest.mark.parametrize(
    "said", [b"", b"\x20\x02\x00\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\xff\xff\xff\x7f"]
)
def test_a_broker_that_is_none_or_refuses_is_told_once_and_tried_again(said: bytes, caplog: pytest.LogCaptureFixture):
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                came.append(peer)
                with peer:
                    peer.recv(1000)
                    peer.sendall(said)

        speaking = threading.Thread(target=speak, daemon=True)
        speaking.start()
        place = MqttPlace("127.0.0.1", listener.getsockname()[1], "rows")
        link = MqttLink(place, random.Random(1), SystemClock(), "rows", lambda _: pytest.fail("nothing came"))
        link.start()
        wait_until(lambda: len(came) >= 3, 30, "it was tried again")
        assert not link.is_up
        link.close()
        listener.shutdown(socket.SHUT_RDWR)
        speaking.join()
    assert len([r for r in caplog.records if r.levelname == "WARNING" and "trying again" in r.message]) == 1
