"""What every sink of answers must do; each implementation is held to the same checks."""

import contextlib
import json
import os
import select
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.servers.local import start_local_broker
from edge_agent.clock import SystemClock
from edge_agent.errors import RowError
from edge_agent.sensing import outlet as outlet_module
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.mqtt_link import MqttLink, MqttPlace
from edge_agent.sensing.mqtt_sink import MqttAnswers
from edge_agent.sensing.outlet import Outlet
from edge_agent.sensing.python_sink import PythonAnswers
from edge_agent.sensing.sink import Sink, Sinks
from edge_agent.sensing.stdout_sink import StandardOutput
from tests.integration.agent.mqtt_peer import Peer
from tests.unit.edge_agent.examples import RAIN, prediction_of
from tests.waiting import wait_until

N = 20


class Taker:
    """Whoever the answers are for; `told` returns what reached it."""

    def __init__(self, sink: Sink, told: Callable[[], list[dict[str, Any]]], close: Callable[[], None]) -> None:
        self.sink = sink
        self.told = told
        self.close = close


def of_json_lines(folder: Path, _request: pytest.FixtureRequest) -> Taker:
    path = folder / "answers.jsonl"
    return Taker(JsonLinesSink(path), lambda: [json.loads(line) for line in path.read_text().splitlines()], nothing)


def of_stdout(_folder: Path, _request: pytest.FixtureRequest) -> Taker:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    heard = bytearray()

    def told() -> list[dict[str, Any]]:
        try:
            while part := os.read(reading, 65536):
                heard.extend(part)
        except BlockingIOError:
            pass
        return [json.loads(line) for line in heard.splitlines()]

    def close() -> None:
        os.close(reading)
        os.close(writing)

    return Taker(Outlet(StandardOutput(writing), "pipe"), told, close)


def of_mqtt(folder: Path, request: pytest.FixtureRequest) -> Taker:
    request.getfixturevalue("mosquitto")
    broker = start_local_broker(folder / "broker", kind="mosquitto")
    peer = Peer(broker.endpoint, "answers").__enter__()
    import random

    link = MqttLink(MqttPlace(broker.endpoint.host, broker.endpoint.port, "sink"), random.Random(1), SystemClock())
    sink = Outlet(MqttAnswers(link, "answers"), "topic")
    wait_until(lambda: link.is_up, 10, "the link is up")

    def close() -> None:
        peer.__exit__(None, None, None)
        broker.stop()

    return Taker(sink, peer.answers, close)


def of_python(_folder: Path, _request: pytest.FixtureRequest) -> Taker:
    heard: list[Mapping[str, Any]] = []
    return Taker(Outlet(PythonAnswers(heard.append), "list"), lambda: [dict(answer) for answer in heard], nothing)


def of_two(folder: Path, request: pytest.FixtureRequest) -> Taker:
    first, second = of_json_lines(folder, request), of_python(folder, request)

    def told() -> list[dict[str, Any]]:
        assert len(first.told()) == len(second.told())
        return first.told()

    return Taker(Sinks((first.sink, second.sink)), told, nothing)


def nothing() -> None:
    return


KINDS = {"json_lines": of_json_lines, "stdout": of_stdout, "mqtt": of_mqtt, "python": of_python, "two": of_two}


@pytest.fixture(params=list(KINDS))
def taker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Taker]:
    made = KINDS[request.param](tmp_path, request)
    yield made
    made.close()


def write(sink: Sink, row: int) -> None:
    sink.write(f"one.{row}", row, 1.7e9, RAIN, prediction_of())


def test_every_answer_is_there_once_and_in_order_after_a_flush(taker: Taker):
    for row in range(N):
        write(taker.sink, row)
    taker.sink.refuse(99, RowError("missing", "no value"))
    taker.sink.flush()
    # A broker acknowledges before it passes on.
    wait_until(lambda: len(taker.told()) >= N, 10, "all have come")
    assert [answer["row"] for answer in taker.told()] == list(range(N))
    assert taker.told()[0] == {
        "id": "one.0", "row": 0, "at": 1.7e9, "bundle": "rain/3", "label": "rain", "confidence": 0.9,
    }  # fmt: skip
    assert taker.sink.lost == 0
    taker.sink.close()


def test_a_close_hands_over_what_is_there(taker: Taker):
    for row in range(N):
        write(taker.sink, row)
    taker.sink.close()
    wait_until(lambda: len(taker.told()) == N, 10, "all have come")


def test_a_flush_without_answers_is_nothing(taker: Taker):
    taker.sink.flush()
    taker.sink.close()
    assert taker.told() == []


class Stuck:
    """A carrier that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.is_stuck = True
        self.taken: list[int] = []

    def send(self, answers: Any) -> int:
        if self.is_stuck:
            raise BlockingIOError("nobody reads")
        self.taken += [answer.row for answer in answers]
        return len(answers)

    def close(self) -> None:
        return


def test_an_outlet_whose_carrier_is_stuck_keeps_a_bound_counts_what_it_lost_and_gives_the_rest(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(outlet_module, "MAX_TOGETHER", 4)
    monkeypatch.setattr(outlet_module, "_FLUSH_S", 0.05)
    carrier = Stuck()
    sink = Outlet(carrier, "stuck", max_waiting=10)
    for row in range(100):
        write(sink, row)
    with pytest.raises(OSError, match="answers are not taken yet"):
        sink.flush()
    assert 100 - 14 <= sink.lost <= 100 - 10
    carrier.is_stuck = False
    wait_until(lambda: len(carrier.taken) == 100 - sink.lost, 10, "the rest is taken")
    assert carrier.taken == sorted(carrier.taken)
    assert carrier.taken[-1] == 99
    sink.flush()
    sink.close()


def test_a_function_of_the_user_that_breaks_loses_its_answer_and_gets_the_next(caplog: pytest.LogCaptureFixture):
    heard: list[int] = []

    def take(answer: Mapping[str, Any]) -> None:
        if answer["row"] == 1:
            raise ZeroDivisionError
        heard.append(answer["row"])

    sink = Outlet(PythonAnswers(take), "mine")
    for row in range(4):
        write(sink, row)
    sink.flush()
    sink.close()
    assert heard == [0, 2, 3]
    assert sink.lost == 1
    assert "handing answers to mine" in caplog.text


def test_a_reader_that_does_not_read_holds_up_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outlet_module, "_FLUSH_S", 0.05)
    reading, writing = os.pipe()
    # The pipe is full from the beginning.
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * select.PIPE_BUF)
    sink = Outlet(StandardOutput(writing), "pipe", max_waiting=10)
    for row in range(1000):
        write(sink, row)
    with pytest.raises(OSError, match="not taken yet"):
        sink.flush()
    assert sink.lost > 0
    sink.close()
    os.close(reading)
    os.close(writing)
