"""Housekeeping keeps what it is handed, and one duty that fails does not hold up another."""

import errno
import logging
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
    Resources,
    Samples,
    Status,
    TelemetryWindow,
    encode_record,
    parse,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent import recorder
from edge_agent.clock import SystemClock
from edge_agent.errors import SpoolError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.housekeeping import MAX_COMMANDS, REST_S, Housekeeping
from edge_agent.live import Live
from edge_agent.recorder import Recorder
from edge_agent.sensing.sink import NoSink
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.sampler import SAMPLER_NOTE
from edge_agent.telemetry.spool import Spool
from edge_agent.telemetry.window import WindowBuilder
from edge_agent.update.stage_messages import StageReport
from tests.unit.edge_agent.examples import ManualClock, classification_manifest
from tests.unit.edge_agent.update.simulators import Device, Stagings
from tests.waiting import wait_until

CLOCK = SystemClock()


@dataclass(frozen=True)
class NothingChosen:
    """No rows, and a state of the sampler."""

    written: bytes

    def samples(self) -> tuple[Samples, ...]:
        return ()

    def state(self) -> bytes:
        return self.written


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
        self.is_started = False
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
        self.handover.put(ClosedWindow(builder.close(CLOCK.utc_s()), NothingChosen(b"state %d" % cursor), cursor))

    def start(self) -> None:
        self.is_started = True
        self.housekeeping.start(self.inbox)

    def connect(self) -> None:
        self.link.is_connected = True
        self.housekeeping.on_link(True)


def delivery_on(channel: Channel, payload: bytes = b"x") -> Delivery:
    return Delivery(Topic(FleetId("f"), DeviceId("d"), channel), payload, retained=False)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.is_started:
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


def test_a_board_that_says_what_cannot_be_costs_no_window(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder, "read_resources", lambda _: Resources(-1, 0.0, 0))
    bench.close_window(10)
    bench.start()
    wait_until(lambda: bench.recorder.windows == 1)
    (record,) = bench.spool.peek(10)
    _, window = parse(Channel.TELEMETRY, record.payload())
    assert isinstance(window, TelemetryWindow)
    assert window.resources is None


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
        bench.housekeeping.on_delivery(delivery_on(Channel.COMMAND))
    wait_until(lambda: len(bench.inbox.deliveries) == 2)
    bench.close_window(7)
    wait_until(lambda: bench.spool.cursor() == 7)


def test_a_duty_that_is_surprised_again_and_again_rests_and_is_told_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    tries: list[None] = []

    def surprise() -> None:
        tries.append(None)
        raise ZeroDivisionError("a surprise")

    monkeypatch.setattr(bench.device.updater, "poll", surprise)
    caplog.set_level(logging.DEBUG, "edge_agent.housekeeping")
    clock = bench.housekeeping._clock = ManualClock()
    bench.start()
    for number in range(1, 30):
        # Each window is a round of the duties.
        bench.close_window(number)
        wait_until(lambda: bench.handover.is_empty)
    wait_until(lambda: bench.recorder.windows == 29)
    assert len(tries) == 1
    clock.advance(REST_S)
    wait_until(lambda: len(tries) == 2)
    # In a later round, and so after the rest was reckoned.
    bench.close_window(30)
    wait_until(lambda: bench.recorder.windows == 30)
    clock.advance(2 * REST_S)
    wait_until(lambda: len(tries) == 3)
    wait_until(lambda: len([r for r in caplog.records if "a surprise" in r.getMessage()]) == 3)
    told = [r for r in caplog.records if "a surprise" in r.getMessage()]
    assert [bool(r.exc_info) for r in told] == [True, False, False]
    assert [r.levelno for r in told[1:]] == [logging.DEBUG] * 2


def test_messages_that_come_faster_than_they_are_read_are_bounded_and_the_latest_order_is_kept(bench: Bench):
    for n in range(500):
        for channel in (Channel.DESIRED, Channel.COMMAND, Channel.STORED):
            bench.housekeeping.on_delivery(delivery_on(channel, b"%d" % n))
    bench.start()
    wait_until(lambda: len(bench.inbox.deliveries) == MAX_COMMANDS + 2)
    last = {d.topic.channel: d.payload for d in bench.inbox.deliveries if d.topic.channel is not Channel.COMMAND}
    assert last == {Channel.DESIRED: b"499", Channel.STORED: b"499"}
    commands = [d.payload for d in bench.inbox.deliveries if d.topic.channel is Channel.COMMAND]
    assert commands == [b"%d" % n for n in range(MAX_COMMANDS)]


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


def test_events_are_put_into_the_spool_once_while_the_update_s_record_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    refusals: list[int] = []

    def refuse(n: int) -> None:
        refusals.append(n)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bench.device.updater, "events_told", refuse)
    bench.device.stagings.report = StageReport("refused", "it was altered")
    bench.device.order(9, "one")
    bench.start()
    wait_until(lambda: len(refusals) > 3)
    assert bench.spool.counts()[Channel.EVENTS].put == 1


def test_events_that_a_cut_left_in_the_outbox_are_not_put_again_by_the_next_start(bench: Bench, tmp_path: Path):
    events = [Event("refused", float(n), "error", "x") for n in range(5)]
    bench.recorder.put_events([], events[:2])
    bench.recorder.put_events([], events[2:4])
    # The outbox as it was before all of this: its file could not be written.
    again = Recorder(bench.spool, NoSink(), bench.handover, tmp_path)
    again.put_events([], events[:4])
    again.put_events([events[0]], events)
    told = [parse(r.channel, r.payload())[1] for r in bench.spool.peek(100)]
    assert told == [*events[:4], events[0], events[4]]


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


def test_what_becomes_durable_at_the_end_is_sent_before_the_goodbye(bench: Bench):
    event = Event("error", CLOCK.utc_s(), "error", "told last")
    bench.housekeeping.also("telling", lambda: None, at_end=lambda: bench.housekeeping.tell(event))
    bench.start()
    bench.connect()
    wait_until(lambda: bench.link.of(Channel.STATUS))
    assert bench.housekeeping.stop(5.0)
    assert [channel for channel, _ in bench.link.published][-2:] == [Channel.EVENTS, Channel.STATUS]


def test_live_counters_are_written_when_they_change_and_at_the_end(bench: Bench):
    bench.start()
    wait_until(lambda: len(bench.about.kept) == 1)
    bench.housekeeping.stop(5.0)
    assert len(bench.about.kept) == 2
