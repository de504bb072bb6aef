"""What every source must do whose rows cannot be read again; each implementation is held to the same checks."""

import http.client
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from edge_agent.clock import SystemClock
from edge_agent.sensing.http_server import HttpBounds
from edge_agent.sensing.inference_protocol import parse_payload
from edge_agent.sensing.inference_server import InferenceServer
from edge_agent.sensing.inlet import Inlet
from edge_agent.sensing.journal import Journal
from edge_agent.sensing.json_rows import parse_packed_row, parse_row
from edge_agent.sensing.mqtt_link import Arrival
from edge_agent.sensing.mqtt_source import MqttRows, parse_kept
from edge_agent.sensing.python_source import PythonRows
from edge_agent.sensing.socket_source import SocketServer
from edge_agent.sensing.source import Source, SourceRow
from tests.unit.edge_agent.examples import classification_manifest
from tests.waiting import wait_until

FEATURES = ("temperature", "wind")
ROWS = [(float(number), number / 2) for number in range(7)]
MAX_WAITING = 16


class Feed(Protocol):
    """One implementation, with the program that feeds it."""

    def open(self, features: Sequence[str], cursor: int) -> Source:
        """Open a source on it."""
        ...

    def put(self, rows: Sequence[tuple[float, float]]) -> None:
        """Have rows sent; need not wait until they were accepted."""
        ...

    def close(self) -> None:
        """End both."""
        ...


class SocketFeed:
    def __init__(self, inlet: Inlet, folder: Path) -> None:
        self.server = SocketServer(folder / "rows.sock", inlet)
        self.server.start()
        self.open = inlet.open
        self.writer = socket.socket(socket.AF_UNIX)
        self.writer.connect(str(folder / "rows.sock"))
        self.writer.setblocking(False)

    def put(self, rows: Sequence[tuple[float, float]]) -> None:
        self.writer.sendall(b"".join(json.dumps(row).encode() + b"\n" for row in rows))

    def close(self) -> None:
        self.writer.close()
        self.server.close()


class MqttFeed:
    """The part behind the link; the link itself is tested with a real broker."""

    def __init__(self, inlet: Inlet, _folder: Path) -> None:
        self.rows = MqttRows(inlet)
        self.open = inlet.open
        self.packet = 0

    def put(self, rows: Sequence[tuple[float, float]]) -> None:
        for temperature, wind in rows:
            self.packet += 1
            payload = json.dumps({"temperature": temperature, "wind": wind}).encode()
            arrival = Arrival(payload, self.packet, 1, is_repeated=False, is_retained=False)
            threading.Thread(target=self.rows.receive, args=([arrival],), daemon=True).start()
            expected = min(self.packet, MAX_WAITING)
            wait_until(lambda: self.rows._inlet.taken_in >= expected, 10, "it is accepted")  # noqa: B023 - waited for

    def close(self) -> None:
        return


class HttpFeed:
    def __init__(self, inlet: Inlet, _folder: Path) -> None:
        self.inlet = inlet
        manifest = classification_manifest()
        bounds = HttpBounds()
        self.server = InferenceServer(
            "127.0.0.1", 0, inlet, lambda: manifest, SystemClock(), bounds=bounds, answer_timeout_s=0.01
        )
        self.server.start()
        self.open = self.server.open

    def put(self, rows: Sequence[tuple[float, float]]) -> None:
        for row in rows:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
            described = {"name": "rows", "datatype": "FP64", "shape": [1, 2], "data": row}
            connection.request("POST", "/v2/models/rain/infer", json.dumps({"inputs": [described]}))
            # Nobody scores here: accepted, and not answered in time; or turned away.
            assert connection.getresponse().status in {504, 503}
            connection.close()

    def close(self) -> None:
        self.server.close()


class PythonFeed:
    def __init__(self, inlet: Inlet, _folder: Path) -> None:
        self.queue: queue.SimpleQueue[Mapping[str, object] | None] = queue.SimpleQueue()
        self.rows = PythonRows(lambda _: iter(self.queue.get, None), {}, inlet, "queue")
        self.rows.start()
        self.open = inlet.open

    def put(self, rows: Sequence[tuple[float, float]]) -> None:
        for temperature, wind in rows:
            self.queue.put({"wind": wind, "temperature": temperature})

    def close(self) -> None:
        self.queue.put(None)
        self.rows.close()


KINDS: dict[str, tuple[Callable[[Inlet, Path], Feed], Callable[..., object]]] = {
    "socket": (SocketFeed, parse_row),
    "mqtt": (MqttFeed, parse_kept),
    "http": (HttpFeed, parse_payload),
    "python": (PythonFeed, parse_packed_row),
}


class Live:
    """A live source with its inlet, opened as often as a test wants, like starts of an agent."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.feeds: list[tuple[Feed, Inlet]] = []

    def start(self, cursor: int = 0) -> tuple[Source, Feed]:
        make, decode = KINDS[self.kind]
        journal = Journal(self.folder / "kept", cursor, lambda: cursor, max_bytes=1 << 20, is_synced=False)
        inlet = Inlet(journal, decode, cursor, MAX_WAITING)  # type: ignore[arg-type]  # one of the table's
        feed = make(inlet, self.folder)
        self.feeds.append((feed, inlet))
        return feed.open(FEATURES, cursor), feed

    def end(self) -> None:
        """End it, and remove nothing that a kill would leave."""
        for feed, inlet in self.feeds:
            inlet.close()
            feed.close()
        self.feeds.clear()


@pytest.fixture(params=list(KINDS))
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    made = Live(request.param, tmp_path)
    yield made
    made.end()


def take(source: Source, n: int) -> list[SourceRow]:
    rows: list[SourceRow] = []

    def has_enough() -> bool:
        row = source.next_row(0.05)
        if row is not None:
            rows.append(row)
        return len(rows) >= n

    wait_until(has_enough, 10, f"{n} rows come")
    return rows


def values_of(rows: Sequence[SourceRow]) -> list[tuple[float, ...]]:
    return [tuple(float(value or 0) for value in row.values) for row in rows]


def test_gives_every_row_once_with_growing_numbers(live: Live):
    source, feed = live.start()
    feed.put(ROWS)
    rows = take(source, len(ROWS))
    assert values_of(rows) == ROWS
    assert [row.number for row in rows] == list(range(len(ROWS)))
    assert source.next_row(0.0) is None
    assert not source.at_end


def test_after_a_restart_rows_that_are_not_counted_come_again_with_their_numbers(live: Live):
    source, feed = live.start()
    feed.put(ROWS)
    before = take(source, len(ROWS))
    live.end()
    source, feed = live.start(cursor=3)
    feed.put([(9.0, 9.0)])
    after = take(source, len(ROWS) - 3 + 1)
    assert after[:-1] == before[3:]
    assert after[-1].number > before[-1].number
    assert values_of(after[-1:]) == [(9.0, 9.0)]


def test_a_restart_with_everything_counted_gives_nothing_again_and_no_number_twice(live: Live):
    source, feed = live.start()
    feed.put(ROWS)
    last = take(source, len(ROWS))[-1].number
    live.end()
    source, feed = live.start(cursor=last + 1)
    assert source.next_row(0.0) is None
    feed.put(ROWS[:1])
    assert take(source, 1)[0].number > last


def test_a_bundle_that_takes_over_gets_the_rows_that_wait(live: Live):
    first, feed = live.start()
    feed.put(ROWS)
    taken = take(first, 2)
    first.close()
    second = feed.open(tuple(reversed(FEATURES)), taken[-1].number + 1)
    rows = take(second, len(ROWS) - 2)
    assert values_of(rows)[0] == (tuple(reversed(ROWS[2])) if live.kind != "socket" else ROWS[2])
    assert [row.number for row in rows] == list(range(2, len(ROWS)))


def test_rows_that_wait_are_given_together_up_to_the_limit(live: Live):
    source, feed = live.start()
    feed.put(ROWS)
    wait_until(lambda: live.feeds[0][1].n_waiting == len(ROWS), 10, "all wait")
    assert len(source.ready_rows(3)) == 3
    assert len(source.ready_rows(100)) == len(ROWS) - 3
    assert source.ready_rows(100) == []


def test_what_waits_has_a_bound(live: Live):
    source, feed = live.start()
    feed.put([(1.0, 2.0)] * (MAX_WAITING + 4))
    inlet = live.feeds[0][1]
    wait_until(lambda: inlet.n_waiting == MAX_WAITING, 10, "it is full")
    assert source.next_row(0.0) is not None
    wait_until(lambda: inlet.n_waiting <= MAX_WAITING, what="it is not over its bound")
    if live.kind == "http":
        assert inlet.turned_away == 4
    else:
        # Whoever waited for room gets it: nothing was lost.
        take(source, MAX_WAITING + 3)
        assert inlet.turned_away == 0


def test_a_closed_source_gives_nothing_and_ends_who_waits(live: Live):
    source, _ = live.start()
    got: list[SourceRow | None] = []
    waiting = threading.Thread(target=lambda: got.append(source.next_row(600.0)))
    waiting.start()
    source.close()
    waiting.join(10)
    assert got == [None]
    assert source.next_row(0.0) is None
    assert source.at_end


def test_sources_leave_no_descriptor_open(live: Live):
    live.start()
    live.end()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    for _ in range(3):
        source, feed = live.start()
        feed.put(ROWS)
        take(source, len(ROWS))
        live.end()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, 10, "all are given back")  # noqa: PTH208
