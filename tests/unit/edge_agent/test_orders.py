"""What a device makes of the messages that reach it."""

from dataclasses import dataclass, field

import pytest

from broker.client import Delivery
from broker.messages import (
    AskLabels,
    BundleRef,
    Command,
    Desired,
    Diagnose,
    Event,
    Reply,
    ReportStatus,
    RollBack,
    ScoreRow,
    StartShadow,
    StopShadow,
    Stored,
    encode,
)
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.orders import TELL_AGAIN_S, Orders
from edge_agent.update.wishes import WishAnswer
from tests.unit.edge_agent.examples import ManualClock


@dataclass
class Rest:
    """The rest of the agent: writes down what it is told."""

    asks: list[tuple[str, object]] = field(default_factory=list)
    desired: list[Desired] = field(default_factory=list)
    marks: list[Stored] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    started: list[tuple[Desired, int]] = field(default_factory=list)
    statuses: int = 0
    disk_error: OSError | None = None

    def ask(self, command_id: str, order: AskLabels | ScoreRow) -> None:
        self.asks.append((command_id, order))

    def on_desired(self, desired: Desired) -> None:
        self.desired.append(desired)

    def roll_back(self, reason: str) -> WishAnswer:
        if self.disk_error is not None:
            raise self.disk_error
        return WishAnswer(accepted=True, reason=f"going back: {reason}")

    @property
    def shadows(self) -> "Rest":
        return self

    def start(self, order: Desired, rows: int) -> WishAnswer:
        self.started.append((order, rows))
        return WishAnswer(accepted=True, reason="")

    def end(self, reason: str) -> WishAnswer:
        return WishAnswer(accepted=bool(self.started), reason=reason)

    def report_status(self) -> None:
        self.statuses += 1


class Bench:
    def __init__(self) -> None:
        self.rest = Rest()
        self.clock = ManualClock()
        self.orders = Orders(
            scoring=self.rest,
            updates=self.rest,
            on_stored=self.rest.marks.append,
            report_status=self.rest.report_status,
            diagnose=lambda: '{"good": true}',
            reply=self.rest.replies.append,
            tell=self.rest.events.append,
            clock=self.clock,
        )

    def deliver(self, channel: Channel, payload: bytes) -> None:
        self.orders.on_delivery(Delivery(Topic(FleetId("f"), DeviceId("d"), channel), payload, retained=False))

    def command(self, order: object, command_id: str = "c", expires_in_s: float = 60.0) -> None:
        command = Command(command_id, self.clock.utc_s() + expires_in_s, "me", order)  # type: ignore[arg-type]
        self.deliver(Channel.COMMAND, encode(command))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_orders_and_marks_reach_who_they_are_for(bench: Bench):
    desired, mark = Desired(BundleRef("toy", 1), "o", 0.0, "me"), Stored(7, 8, 0.0)
    bench.deliver(Channel.DESIRED, encode(desired))
    bench.deliver(Channel.STORED, encode(mark))
    assert (bench.rest.desired, bench.rest.marks) == ([desired], [mark])


@pytest.mark.parametrize("order", [AskLabels("a", 3), ScoreRow((1.0, None))])
def test_what_the_scoring_thread_must_do_is_handed_to_it(bench: Bench, order: AskLabels | ScoreRow):
    bench.command(order)
    assert bench.rest.asks == [("c", order)]
    assert bench.rest.replies == []


def test_the_other_commands_are_answered_at_once(bench: Bench):
    bench.command(RollBack("why"), "1")
    bench.command(ReportStatus(), "2")
    bench.command(Diagnose(), "3")
    assert bench.rest.replies == [
        Reply("1", accepted=True, reason="going back: why (by me)"),
        Reply("2", accepted=True),
        Reply("3", accepted=True, report='{"good": true}'),
    ]
    assert bench.rest.statuses == 1


def test_a_roll_back_that_cannot_be_written_down_is_not_accepted(bench: Bench):
    bench.rest.disk_error = OSError(28, "No space left on device")
    bench.command(RollBack("why"))
    (reply,) = bench.rest.replies
    assert not reply.accepted
    assert "No space left" in reply.reason


def test_a_repeated_command_is_carried_out_once(bench: Bench):
    for _ in range(3):
        bench.command(Diagnose())
        bench.command(AskLabels("a", 3), "other")
    assert len(bench.rest.replies) == 1
    assert len(bench.rest.asks) == 1


def test_an_expired_command_is_ignored(bench: Bench):
    bench.command(Diagnose(), expires_in_s=-1.0)
    bench.command(AskLabels("a", 3), "other", expires_in_s=-0.001)
    assert bench.rest.replies == []
    assert bench.rest.asks == []


@pytest.mark.parametrize("channel", [Channel.DESIRED, Channel.STORED, Channel.COMMAND])
@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"", "empty"), (b"\x09abc", "version 9"), (b"\x01\xc1", "malformed"), (b"\x01" * 100_000, "refused unread")],
)
def test_what_cannot_be_read_is_counted_and_told_once_in_a_while(
    bench: Bench, channel: Channel, payload: bytes, reason: str
):
    for _ in range(5):
        bench.deliver(channel, payload)
    assert bench.orders.refused_messages == 5
    (event,) = bench.rest.events
    assert reason in event.reason
    bench.clock.advance(TELL_AGAIN_S)
    bench.deliver(channel, payload)
    assert len(bench.rest.events) == 2


def test_a_channel_that_is_not_for_devices_is_left_alone(bench: Bench):
    bench.deliver(Channel.STATUS, b"whatever")
    assert bench.orders.refused_messages == 0


def test_a_shadow_is_started_and_ended_under_the_command_s_own_id():
    bench = Bench()
    bench.command(StopShadow(), "early")
    bench.command(StartShadow(BundleRef("toy", 3), 100), "start")
    bench.command(StopShadow(), "stop")
    order, rows = bench.rest.started[0]
    assert (order.bundle, order.order_id, order.by, rows) == (BundleRef("toy", 3), "start", "me", 100)
    assert [(reply.command_id, reply.accepted) for reply in bench.rest.replies] == [
        ("early", False),
        ("start", True),
        ("stop", True),
    ]
