"""The link to a local broker: what it says to one that does as a test wants."""

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from broker.frames import KIND, acknowledge, encode_length, text
from edge_agent.clock import SystemClock
from edge_agent.sensing import mqtt_link
from edge_agent.sensing.mqtt_link import MAX_PAYLOAD_BYTES, MAX_TOGETHER, Arrival, MqttLink, MqttPlace
from tests.waiting import wait_until

TAKEN = b"\x20\x02\x00\x00"
SUBSCRIBED = b"\x90\x03\x00\x01\x01"


class Broker:
    """Takes one client after the other, and says what it is told to."""

    def __init__(self, listener: socket.socket) -> None:
        self.port = listener.getsockname()[1]
        self.heard: list[tuple[int, bytes]] = []
        self._listener = listener

    def take(self, said: bytes = TAKEN) -> socket.socket:
        """Accept a client, and answer its first packet."""
        peer, _ = self._listener.accept()
        peer.settimeout(10)
        assert self.hear(peer)[0] & KIND == 0x10
        peer.sendall(said)
        return peer

    def hear(self, peer: socket.socket) -> tuple[int, bytes]:
        """Return the first byte and the body of the next packet."""
        first, length, shift = peer.recv(1)[0], 0, 0
        while True:
            digit = peer.recv(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                break
        body = b""
        while len(body) < length:
            body += peer.recv(length - len(body))
        return first, body


@pytest.fixture
def broker() -> Iterator[Broker]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield Broker(listener)


def link_to(
    broker: Broker,
    topic: str | None = None,
    receive: Callable[[Sequence[Arrival]], bool] | None = None,
    username: str | None = None,
    password: str | None = None,
) -> MqttLink:
    place = MqttPlace("127.0.0.1", broker.port, "me", username, password)
    link = MqttLink(place, random.Random(1), SystemClock(), topic, receive)
    link.start()
    return link


def row(packet: int, payload: bytes = b"[1]", first: int = 0x32) -> bytes:
    body = text(b"rows") + (packet.to_bytes(2, "big") if first & 6 else b"") + payload
    return bytes([first]) + encode_length(len(body)) + body


def in_background(task: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    return thread


def test_user_name_and_password_go_to_the_broker(broker: Broker):
    link = link_to(broker, username="press", password="secret")
    peer, _ = broker._listener.accept()
    first, body = broker.hear(peer)
    assert (first, body) == (0x10, b"\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02me\x00\x05press\x00\x06secret")
    peer.close()
    link.close()


def test_a_broker_that_refuses_is_left_and_its_reason_told_without_the_password(
    broker: Broker, caplog: pytest.LogCaptureFixture
):
    link = link_to(broker, username="press", password="secret")
    peer = broker.take(b"\x20\x02\x00\x04")
    assert peer.recv(1) == b"", "the link is closed"
    wait_until(lambda: "wrong user name or password" in caplog.text)
    assert not link.is_up
    assert "secret" not in caplog.text
    link.close()
    peer.close()


def test_a_broker_that_refuses_the_topic_is_told_of_and_the_link_stays(
    broker: Broker, caplog: pytest.LogCaptureFixture
):
    link = link_to(broker, "rows", lambda _: True)
    peer = broker.take()
    assert broker.hear(peer)[0] == 0x82
    peer.sendall(b"\x90\x03\x00\x01\x80")
    wait_until(lambda: link.is_up)
    assert "refused to subscribe us to rows: no row will come" in caplog.text
    link.close()
    peer.close()


def test_of_what_is_published_the_first_that_are_acknowledged_count_and_a_lost_link_is_told_at_once(broker: Broker):
    link = link_to(broker)
    peer = broker.take()
    wait_until(lambda: link.is_up)
    results: list[int] = []
    publishing = in_background(lambda: results.append(link.publish("answers", [b"a", b"b", b"c", b"d"], 60.0)))
    packets = [int.from_bytes(broker.hear(peer)[1][9:11], "big") for _ in range(4)]
    peer.sendall(acknowledge(packets[0]) + acknowledge(packets[1]) + acknowledge(packets[3]))
    peer.shutdown(socket.SHUT_WR)
    publishing.join(10)
    assert results == [2]
    link.close()
    peer.close()


def test_a_link_that_is_lost_before_any_acknowledgement_and_one_that_is_down_raise(broker: Broker):
    link = link_to(broker)
    peer = broker.take()
    wait_until(lambda: link.is_up)
    failures: list[ConnectionError] = []

    def publish() -> None:
        try:
            link.publish("answers", [b"a"], 60.0)
        except ConnectionError as error:
            failures.append(error)

    publishing = in_background(publish)
    broker.hear(peer)
    peer.close()
    publishing.join(10)
    assert len(failures) == 1
    wait_until(lambda: not link.is_up)
    with pytest.raises(ConnectionError, match="no link"):
        link.publish("answers", [b"a"], 60.0)
    link.close()


def test_a_broker_that_reads_nothing_is_not_sent_more_and_more(broker: Broker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mqtt_link, "_GOODBYE_S", 0.1)
    link = link_to(broker)
    peer = broker.take()
    wait_until(lambda: link.is_up)
    # More than the kernel takes.
    with pytest.raises(ConnectionError, match="acknowledged nothing"):
        link.publish("answers", [bytes(1 << 20)] * 16, 0.2)
    with pytest.raises(ConnectionError, match="does not read"):
        link.publish("answers", [b"a"], 0.2)
    link.close()
    peer.close()


def test_rows_that_come_in_one_read_are_acknowledged_as_they_are_taken(broker: Broker):
    goes_on, groups = threading.Event(), []

    def receive(arrived: Sequence[Arrival]) -> bool:
        groups.append(len(arrived))
        return len(groups) == 1 or goes_on.wait(10)

    link = link_to(broker, "rows", receive)
    peer = broker.take()
    assert broker.hear(peer)[0] == 0x82
    peer.sendall(SUBSCRIBED + b"".join(row(packet) for packet in range(1, MAX_TOGETHER + 11)))
    heard = [broker.hear(peer) for _ in range(MAX_TOGETHER)]
    assert heard == [(0x40, packet.to_bytes(2, "big")) for packet in range(1, MAX_TOGETHER + 1)]
    goes_on.set()
    assert [broker.hear(peer) for _ in range(10)][-1] == (0x40, (MAX_TOGETHER + 10).to_bytes(2, "big"))
    assert sum(groups) == MAX_TOGETHER + 10
    assert max(groups) <= MAX_TOGETHER
    link.close()
    peer.close()


def test_what_the_receiver_does_not_take_is_not_acknowledged_and_the_link_is_cut(broker: Broker):
    link = link_to(broker, "rows", lambda arrived: arrived[0].is_repeated)
    peer = broker.take()
    assert broker.hear(peer)[0] == 0x82
    peer.sendall(SUBSCRIBED + row(7))
    assert peer.recv(1) == b""
    wait_until(lambda: link.cut == 1)
    again = broker.take()
    assert broker.hear(again)[0] == 0x82
    again.sendall(SUBSCRIBED + row(7, first=0x3A))
    assert broker.hear(again) == (0x40, b"\x00\x07")
    link.close()
    peer.close()
    again.close()


def test_a_message_says_how_it_came_and_of_a_long_one_no_more_is_kept_than_refuses_it(broker: Broker):
    came: list[Arrival] = []

    def receive(arrived: Sequence[Arrival]) -> bool:
        came.extend(arrived)
        return True

    link = link_to(broker, "rows", receive)
    peer = broker.take()
    peer.sendall(SUBSCRIBED + row(0, first=0x31) + row(8, bytes(MAX_PAYLOAD_BYTES + 100_000)) + row(9, b"[2]", 0x3A))
    wait_until(lambda: len(came) == 3)
    assert came[0] == Arrival(b"[1]", 0, 0, is_repeated=False, is_retained=True)
    assert (came[1].packet, len(came[1].payload)) == (8, MAX_PAYLOAD_BYTES)
    assert came[2] == Arrival(b"[2]", 9, 1, is_repeated=True, is_retained=False)
    link.close()
    peer.close()


def test_the_end_is_a_goodbye(broker: Broker):
    link = link_to(broker)
    peer = broker.take()
    wait_until(lambda: link.is_up)
    link.close()
    assert broker.hear(peer) == (0xE0, b"")
    peer.close()
