"""Housekeeping keeps what it is handed, and one duty that fails does not hold up another."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.client import Delivery
from broker.errors import LinkError
from broker.messages import (
    Event,
    Facts,
    RecordKey,
    Reply,
    Status,
    TelemetryWindow,
    encode_record,
    parse,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import SystemClock
from edge_agent.errors import SpoolError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.housekeeping import Housekeeping
from edge_agent.live import Live
from edge_agent.recorder import SAMPLER_NOTE, Recorder
from edge_agent.sensing.sink import NoSink
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.spool import Spool
from edge_agent.telemetry.window import WindowBuilder
from edge_agent.update.stage_messages import StageReport
from tests.unit.edge_agent.examples import classification_manifest
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

CLOCK = SystemClock()


@dataclass
class ListedLink:
    """A link that keeps what is published."""

    is_connected: bool = False
    published: list[tuple[Channel, bytes]] = field(default_factory=list)

    def publish(self, channel: Channel, payload: bytes) -> None:
        if not self.is_connected:
            raise LinkError("no link")
        self.published.append((channel, payload))

    def publish_and_wait(self, channel: Channel, payload: bytes, timeout_s: float) -> None:
        assert timeout_s > 0
        self.publish(channel, payload)

    def of(self, channel: Channel) -> list[object]:
        return [parse(channel, payload)[1] for where, payload in self.published if where is channel]


@dataclass
class Someone:
    """What the agent knows of itself."""

    state: str = "idle"
    kept: list[Live] = field(default_factory=list)

    def status(self, *, is_online: bool) -> Status:
        return Status(is_online, CLOCK.utc_s(), "boot", "0.1", update_state=self.state)

    def facts(self) -> Facts:
        return Facts("board", "x86_64", ("onnx",), 1, 2)

    def live(self) -> Live:
        return Live("d", "f", "0.1", "boot", 1, 0.0, CLOCK.utc_s())

    def keep_live(self, live: Live) -> None:
        self.kept.append(live)


@dataclass
class ListedInbox:
    """An inbox that keeps what is delivered; `error` is raised for it."""

    deliveries: list[Delivery] = field(default_factory=list)
    error: Exception | None = None

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if self.error is not None:
            raise self.error


class Bench:
    def __init__(self, folder: Path) -> None:
        self.handover = Handover(max_windows=4)
        self.spool = Spool(folder / "spool.db", random.Random(1))
        self.link = ListedLink()
        self.about = Someone()
        self.inbox = ListedInbox()
        self.device = Device(folder / "state", Stagings(folder))
        self.forwarder = Forwarder(self.spool, self.link.publish, CLOCK, random.Random(1))
        self.recorder = Recorder(self.spool, NoSink(), self.handover, folder)
        self.housekeeping = Housekeeping(
            handover=self.handover,
            recorder=self.recorder,
            forwarder=self.forwarder,
            updater=self.device.updater,
            link=self.link,
            clock=CLOCK,
            about=self.about,
        )

    def close_window(self, cursor: int) -> None:
        builder = WindowBuilder(classification_manifest(), "onnx-fp32", CLOCK.utc_s())
        builder.error("for a test")
        self.handover.put(ClosedWindow(builder.close(CLOCK.utc_s()), (), cursor, b"state %d" % cursor))

    def start(self) -> None:
        self.housekeeping.start(self.inbox)

    def connect(self) -> None:
        self.link.is_connected = True
        self.housekeeping.on_link(True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.housekeeping.stop(5.0)
    bench.spool.close()


def test_windows_cursor_and_the_sampler_s_state_become_durable_together(bench: Bench):
    bench.close_window(10)
    bench.close_window(20)
    bench.start()
    wait_until(lambda: bench.recorder.windows == 2)
    assert bench.spool.cursor() == 20
    assert bench.spool.note(SAMPLER_NOTE) == b"state 20"
    assert [record.channel for record in bench.spool.peek(10)] == [Channel.TELEMETRY] * 2
    assert bench.handover.has_room


def test_windows_carry_what_the_process_takes_of_the_board(bench: Bench):
    bench.close_window(10)
    bench.start()
    wait_until(lambda: bench.recorder.windows == 1)
    body = bench.spool.peek(1)[0].body
    _, window = parse(Channel.TELEMETRY, encode_record(RecordKey(1, 1, 0), body))
    assert isinstance(window, TelemetryWindow)
    assert window.resources is not None
    assert window.resources.rss_bytes > 1_000_000


def test_an_answer_is_sent_after_it_is_durable_and_waits_for_the_link(bench: Bench):
    bench.handover.put(Answer("c", accepted=True, sampler_state=b"asked"))
    bench.start()
    wait_until(lambda: bench.spool.note(SAMPLER_NOTE) == b"asked")
    assert bench.link.published == []
    bench.connect()
    wait_until(lambda: bench.link.of(Channel.REPLY))
    assert bench.link.of(Channel.REPLY) == [Reply("c", accepted=True)]


def test_a_spool_that_refuses_keeps_its_windows_and_the_others_at_work(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    real = bench.spool.put
    refusals = []

    def refuse(*arguments: object, **named: object) -> None:
        refusals.append((arguments, named))
        raise SpoolError("the disk is full")

    monkeypatch.setattr(bench.spool, "put", refuse)
    for cursor in (1, 2, 3, 4):
        bench.close_window(cursor)
    bench.start()
    bench.connect()
    wait_until(lambda: len(refusals) > 2)
    assert not bench.handover.has_room
    assert bench.link.of(Channel.STATUS)
    monkeypatch.setattr(bench.spool, "put", real)
    wait_until(lambda: bench.recorder.windows == 4)
    assert bench.spool.cursor() == 4
    assert bench.handover.has_room


def test_a_surprise_in_one_duty_does_not_end_the_thread(bench: Bench):
    bench.inbox.error = ZeroDivisionError("a surprise")
    bench.start()
    for _ in range(2):
        bench.housekeeping.on_delivery(Delivery(Topic(FleetId("f"), DeviceId("d"), Channel.DESIRED), b"x", False))
    wait_until(lambda: len(bench.inbox.deliveries) == 2)
    bench.close_window(7)
    wait_until(lambda: bench.spool.cursor() == 7)


def test_the_status_is_said_at_every_connect_and_at_every_change_only(bench: Bench):
    bench.start()
    bench.connect()
    wait_until(lambda: len(bench.link.of(Channel.STATUS)) == 1)
    bench.close_window(1)
    wait_until(lambda: bench.spool.cursor() == 1)
    assert len(bench.link.of(Channel.STATUS)) == 1
    bench.about.state = "fetching"
    wait_until(lambda: len(bench.link.of(Channel.STATUS)) == 2)
    bench.connect()
    wait_until(lambda: len(bench.link.of(Channel.STATUS)) == 3)


def test_events_of_the_agent_and_of_updates_reach_the_spool_once(bench: Bench):
    bench.device.stagings.report = StageReport("refused", "it was altered")
    bench.device.order(9, "one")
    bench.housekeeping.tell(Event("error", 0.0, "error", "the spool was damaged"))
    bench.start()
    wait_until(lambda: bench.spool.counts()[Channel.EVENTS].put >= 2)
    wait_until(lambda: bench.device.kinds == [])
    bench.close_window(1)
    wait_until(lambda: bench.spool.cursor() == 1)
    assert bench.spool.counts()[Channel.EVENTS].put == 2


def test_at_the_end_what_was_handed_over_is_durable_and_goodbye_is_said(bench: Bench):
    bench.start()
    bench.connect()
    wait_until(lambda: bench.link.of(Channel.STATUS))
    for cursor in range(1, 30):
        bench.close_window(cursor)
    assert bench.housekeeping.stop(5.0)
    assert bench.spool.cursor() == 29
    last = bench.link.of(Channel.STATUS)[-1]
    assert isinstance(last, Status)
    assert not last.online


def test_live_counters_are_written_when_they_change_and_at_the_end(bench: Bench):
    bench.start()
    wait_until(lambda: len(bench.about.kept) == 1)
    bench.housekeeping.stop(5.0)
    assert len(bench.about.kept) == 2
