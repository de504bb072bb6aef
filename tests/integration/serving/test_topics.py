"""From a topic to a topic over a real Mosquitto: in order, through kills of the broker and the service, promotions."""

import contextlib
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from broker.client import Endpoint
from broker.servers.mosquitto import READY_PATTERN
from edge_agent.clock import SystemClock
from edge_agent.sensing.mqtt_link import MqttLink, MqttPlace
from tests.bundles import FEATURES, make_bundle
from tests.integration.agent.mqtt_peer import Peer
from tests.integration.serving.conftest import client_of, serving
from tests.ports import free_port
from tests.serving import GOOD, running
from tests.waiting import wait_until
from trainer.serving.errors import ServingError
from trainer.serving.server import Beside
from trainer.serving.topics.stream import Topics, TopicStream

pytestmark = pytest.mark.mosquitto

ROWS, ANSWERS = "press/rows", "press/answers"


class KillableBroker:
    """A Mosquitto that writes down each change at once, and may be killed and started again."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        self._program = program
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"user root\nlistener {self.endpoint.port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\n"
            f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 0\n"
        )
        self.start()

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([str(self._program), "-c", str(self._config)], stderr=log)
        wait_until(lambda: re.search(READY_PATTERN, self._log.read_bytes()) is not None, 30, "Mosquitto listens")

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(how)
        self._process.wait()


@pytest.fixture
def broker(tmp_path, mosquitto):
    folder = tmp_path / "broker"
    folder.mkdir()
    running_broker = KillableBroker(folder, mosquitto)
    yield running_broker
    running_broker.end()


@contextlib.contextmanager
def streaming(broker, folder, bundle, rows=ROWS):
    place = MqttPlace(broker.endpoint.host, broker.endpoint.port, "scorer")
    stream = TopicStream(Topics(place, rows, ANSWERS, folder / "ledger.db"), SystemClock())
    try:
        with running(bundle, beside=Beside(topics=stream)) as service:
            wait_until(lambda: stream.is_up, 30, "both topics are linked")
            yield service
    finally:
        stream.close()


def row(number, **more):
    return json.dumps({name: number / 100 - place for place, name in enumerate(FEATURES)} | {"row_id": number} | more)


def numbers(peer):
    return [answer.get("row_id") for answer in peer.answers()]


def test_rows_are_answered_in_their_order_and_bad_ones_stop_nothing(broker, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with Peer(broker.endpoint, ANSWERS) as peer, streaming(broker, tmp_path, bundle, "press/+/rows") as service:
        peer.publish("press/7/rows", b"old", retain=True)
        peer.publish("press/7/rows", b"", retain=True)
        for number in range(200):
            peer.publish("press/7/rows", b"no row" if number % 50 == 7 else row(number).encode())
        wait_until(lambda: len(peer.heard) == 202, 30, "every message is answered")
        # A subscriber may have an answer before the service knows that the broker has it.
        counted = 'fieldloop_serving_messages_total{outcome="answered"} 202.0'
        wait_until(lambda: counted in service.ask("GET", "/metrics")[1].decode(), 30, "all are counted")
        figures = service.ask("GET", "/metrics")[1].decode()
        answers = peer.answers()[2:]
    assert [answer.get("row_id", "bad") for answer in answers] == [
        "bad" if number % 50 == 7 else number for number in range(200)
    ]
    assert {answer["refused"].partition(":")[0] for answer in answers if "refused" in answer} == {"malformed"}
    assert len({answer["id"] for answer in answers}) == 197
    assert "fieldloop_serving_topics_up 1.0" in figures


def test_what_lay_at_the_broker_as_retained_is_no_row(broker, tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    with Peer(broker.endpoint, ANSWERS) as peer:
        peer.publish(ROWS, row(1).encode(), retain=True)
        with streaming(broker, tmp_path, bundle) as service:
            peer.publish(ROWS, row(2).encode())
            wait_until(lambda: peer.heard, 30, "the row is answered")
            figures = service.ask("GET", "/metrics")[1].decode()
        assert numbers(peer) == [2]
    assert 'fieldloop_serving_messages_total{outcome="retained"} 1.0' in figures


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_ends_and_comes_back_costs_no_message(broker, tmp_path, how):
    bundle = make_bundle(tmp_path / "bundle")
    with Peer(broker.endpoint, ANSWERS, is_kept=True) as peer, streaming(broker, tmp_path, bundle):
        for number in range(100):
            peer.publish(ROWS, row(number).encode())
        # One that is told to end writes down what it has, in the midst of it all; what one that is killed has
        # acknowledged and not yet written down is lost by it, whoever else is careful.
        n_heard = 50 if how is signal.SIGTERM else 100
        wait_until(lambda: len(peer.heard) >= n_heard, 30, "the first rows are answered")
        broker.end(how)
        wait_until(lambda: not peer.is_connected, 30, "the peer has noticed")
        broker.start()
        wait_until(lambda: peer.is_connected, 30, "the peer is back")
        for number in range(100, 200):
            peer.publish(ROWS, row(number).encode())
        wait_until(lambda: set(numbers(peer)) >= set(range(200)), 60, "every row is answered")
        firsts = list(dict.fromkeys(numbers(peer)))
    assert firsts == list(range(200))


@pytest.mark.slow
def test_rows_wait_at_the_broker_while_the_service_is_killed_and_each_is_answered_once(broker, shop):
    arguments = ("toy/1", "--project", shop.folder, "--broker", str(broker.endpoint), "--topic-client", "killed")
    topics = ("--from-topic", ROWS, "--to-topic", ANSWERS)
    with Peer(broker.endpoint, ANSWERS) as peer:
        with serving(*arguments, *topics) as (process, port):
            _wait_until_linked(port)
            for number in range(300):
                peer.publish(ROWS, row(number).encode())
                if number == 100:
                    wait_until(lambda: peer.heard, 30, "the first rows are answered")
                    process.send_signal(signal.SIGKILL)
                    process.wait()
        with serving(*arguments, *topics) as (process, port):
            wait_until(lambda: 299 in numbers(peer), 60, "every row is answered")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        answers = peer.answers()
    by_row: dict[int, set[str]] = {}
    for answer in answers:
        by_row.setdefault(answer["row_id"], set()).add(answer["id"])
    assert sorted(by_row) == list(range(300))
    # Of what was under way at the kill an answer may come twice: by its id it is known.
    assert all(len(ids) == 1 for ids in by_row.values())
    firsts = list(dict.fromkeys(answer["row_id"] for answer in answers))
    assert firsts == sorted(firsts)


@pytest.mark.slow
def test_a_promotion_loses_and_doubles_nothing(broker, shop):
    shop.registry.promote("toy", 1)
    arguments = ("toy@champion", "--project", shop.folder, "--look-every", "0.1", "--broker", str(broker.endpoint))
    with (
        Peer(broker.endpoint, ANSWERS) as peer,
        serving(*arguments, "--from-topic", ROWS, "--to-topic", ANSWERS) as (_, port),
    ):
        _wait_until_linked(port)
        number = 0
        for version in (1, 2, 1, 2):
            shop.registry.promote("toy", version)
            wanted = f"toy/{version}"
            while not (peer.heard and peer.answers()[-1]["bundle"] == wanted):
                # Several at once: one takes over while others are under way.
                for _ in range(5):
                    peer.publish(ROWS, row(number).encode())
                    number += 1
                _wait_until_heard(peer, number)
    assert numbers(peer) == list(range(number))
    changes = [answer["bundle"] for answer in peer.answers()]
    assert [one for one, before in zip(changes, [None, *changes], strict=False) if one != before] == [
        "toy/1", "toy/2", "toy/1", "toy/2",
    ]  # fmt: skip


def test_while_answers_cannot_go_out_rows_wait_and_none_is_lost(broker, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle")
    with Peer(broker.endpoint, ANSWERS) as peer, streaming(broker, tmp_path, bundle) as service:
        stream_publish = MqttLink.publish
        tries = []

        def refuse(link, topic, payloads, timeout_s):
            tries.append(len(payloads))
            if len(tries) <= 7:
                raise ConnectionError("no link")
            return stream_publish(link, topic, payloads, timeout_s)

        monkeypatch.setattr(MqttLink, "publish", refuse)
        for number in range(30):
            peer.publish(ROWS, row(number).encode())
        wait_until(lambda: 29 in numbers(peer), 60, "every row is answered")
        assert service.infer(GOOD)[0] == 200
    # It was cut after five tries, and what came again is the same message still.
    assert len(tries) > 7
    assert numbers(peer) == list(range(30))
    assert len({answer["id"] for answer in peer.answers()}) == 30


@pytest.mark.parametrize(
    ("rows", "answers", "said"),
    [
        (ROWS, ROWS, "each answer would be a row again"),
        ("press/#", ANSWERS, "each answer would be a row again"),
        (ROWS, "press/+", "answers go to one topic"),
        ("", ANSWERS, "a topic has 1 to 1024 bytes"),
    ],
)
def test_topics_that_cannot_be_are_refused(tmp_path, rows, answers, said):
    with pytest.raises(ServingError, match=re.escape(said)):
        TopicStream(Topics(MqttPlace("127.0.0.1", 1883, "x"), rows, answers, tmp_path / "l.db"), SystemClock())


def _wait_until_heard(peer, n):
    wait_until(lambda: len(peer.heard) >= n, 30, "all are answered")


def _wait_until_linked(port):
    def is_linked():
        return b"fieldloop_serving_topics_up 1.0" in client_of(port).ask("GET", "/metrics")[1]

    wait_until(is_linked, 30, "both topics are linked")
