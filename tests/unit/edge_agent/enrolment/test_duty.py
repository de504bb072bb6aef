"""What the agent does about its certificate, round by round, with a clock and an endpoint that the test decides."""

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from broker.messages import Event
from broker.topics import DeviceId
from edge_agent.clock import Clock
from edge_agent.enrolment.claim_token import read_token
from edge_agent.enrolment.duty import LOOK_EVERY_S, EnrolmentDuty
from edge_agent.enrolment.identity_file import Held, write_identity
from edge_agent.enrolment.messages import EnrolmentOrder, EnrolmentReport
from edge_agent.enrolment.next_step import LINK_PATIENCE_S, Step
from edge_agent.fleet_time import FleetTime
from edge_agent.settings import AgentSettings, EnrolmentSettings, RepositorySettings, SourceSettings

START_S = 1_800_000_000.0
DAY_S = 86_400.0
TOKEN = f"test.6b07a81e.{'A' * 43}\n"


@dataclass
class Time:
    """Two clocks; the board's own may be off."""

    monotonic: float = 1000.0
    off_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.monotonic

    def true_s(self) -> float:
        return START_S + self.monotonic - 1000.0

    def utc_s(self) -> float:
        return self.true_s() + self.off_s


@dataclass
class Child:
    """A step at work, which ends when the test says so."""

    order: EnrolmentOrder
    report: EnrolmentReport | None = None
    is_cancelled: bool = False

    def poll(self) -> EnrolmentReport | None:
        return self.report

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class World:
    """A duty and what surrounds it."""

    folder: Path
    time: Time = field(default_factory=Time)
    held: Held | None = None
    is_connected: bool = True
    children: deque[Child] = field(default_factory=deque)
    used: list[Held] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        enrolment = EnrolmentSettings("https://e:1", "ca.pem", str(self.folder / "token"), retry_min_s=10.0)
        settings = AgentSettings(
            "one",
            "test",
            RepositorySettings("http://r", "root.json", "m"),
            SourceSettings("csv", "rows.csv"),
            state=str(self.folder),
            enrolment=enrolment,
        )
        assert settings.device_id == DeviceId("one")
        self.fleet_time = FleetTime(self.time, self.held.at_utc_s if self.held is not None else 0.0)
        self.duty = EnrolmentDuty(
            settings,
            enrolment,
            self.held,
            self.fleet_time,
            start=self.start,
            use=self.used.append,
            is_connected=lambda: self.is_connected,
            tell=self.events.append,
            clock=self.time,
            rng=random.Random(1),
        )

    def start(self, order: EnrolmentOrder, timeout_s: float, clock: Clock) -> Child:
        assert timeout_s > order.timeout_s
        assert clock is self.time
        self.children.append(Child(order))
        return self.children[-1]

    def pass_s(self, seconds: float) -> Step | None:
        """Let time pass, take a round; return the step that was begun in it."""
        self.time.monotonic += seconds
        n = len(self.children)
        self.duty.poll()
        return self.children[-1].order.step if len(self.children) > n else None

    def end(self, outcome: str, detail: str = "x", *, knows_time: bool = True) -> None:
        """Have the step end, and take a round."""
        utc_s = self.time.true_s() if knows_time else None
        self.children[-1].report = EnrolmentReport(outcome, detail, utc_s)  # type: ignore[arg-type]
        self.duty.poll()

    def write(self, held: Held) -> None:
        write_identity(self.folder, held, b"", b"")


def held_now(days: float = 30.0, at_s: float = START_S, token: str = "") -> Held:
    return Held("one", "test", at_s - 3600, at_s + days * DAY_S, at_s, "b", 8883, token)


def test_a_device_with_a_token_enrols_and_takes_the_identity(tmp_path: Path):
    world = World(tmp_path)
    assert world.pass_s(0) is None
    (tmp_path / "token").write_text(TOKEN)
    assert world.pass_s(LOOK_EVERY_S) == "enrol"
    assert world.pass_s(LOOK_EVERY_S) is None
    held = held_now(token=read_token(tmp_path / "token").label)
    world.write(held)
    world.end("done", "enrolled")
    assert world.used == [held]
    assert [(event.kind, event.severity, event.reason) for event in world.events] == [
        ("certificate", "info", "enrolled")
    ]
    # The token could not be removed, say: it is not used again.
    assert world.pass_s(LOOK_EVERY_S) is None


def test_it_renews_in_time_and_only_then_and_asks_the_time_first(tmp_path: Path):
    world = World(tmp_path, held=held_now())
    assert world.pass_s(19.9 * DAY_S) is None
    assert world.pass_s(3 * DAY_S) == "time"
    world.end("done")
    assert world.used == []
    assert world.pass_s(LOOK_EVERY_S) == "renew"
    new = held_now(at_s=world.time.true_s())
    world.write(new)
    world.end("done", "renewed the certificate")
    assert world.used == [new]
    assert world.pass_s(DAY_S) is None


@pytest.mark.parametrize("off_s", [25 * 365 * DAY_S, 40 * DAY_S])
def test_a_clock_that_is_ahead_makes_it_ask_the_time_and_not_renew(tmp_path: Path, off_s: float):
    world = World(tmp_path, Time(off_s=off_s), held=held_now())
    assert world.pass_s(0) == "time"
    world.end("done")
    assert world.pass_s(DAY_S / 48) is None
    assert world.fleet_time.utc_s() == world.time.true_s()


def test_a_clock_that_is_behind_makes_it_ask_the_time(tmp_path: Path):
    world = World(tmp_path, Time(off_s=-50 * 365 * DAY_S), held=held_now())
    assert world.fleet_time.utc_s() == START_S
    assert world.pass_s(0) == "time"


def test_a_link_that_stays_down_makes_it_ask_the_time_once_an_hour(tmp_path: Path):
    world = World(tmp_path, held=held_now(), is_connected=False)
    assert world.pass_s(LINK_PATIENCE_S / 2) is None
    assert world.pass_s(LINK_PATIENCE_S) == "time"
    world.end("done")
    assert world.pass_s(LINK_PATIENCE_S) is None
    assert world.pass_s(3600) == "time"
    world.is_connected = True
    world.end("unreachable", knows_time=False)
    assert world.pass_s(7200) is None


def test_what_fails_is_tried_again_ever_later_and_told_once(tmp_path: Path):
    world = World(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    waits = []
    world.pass_s(0)
    for _ in range(6):
        world.end("unreachable", "nobody there", knows_time=False)
        waited = 0.0
        while world.pass_s(5.0) is None:
            waited += 5.0
        waits.append(waited)
    assert waits[0] >= 4
    assert waits[-1] > 4 * waits[0]
    assert [event.reason for event in world.events] == ["enrol of the certificate failed: nobody there"]
    world.end("unreachable", "something else", knows_time=False)
    assert len(world.events) == 2


def test_what_is_refused_is_told_and_asked_seldom(tmp_path: Path):
    world = World(tmp_path, held=held_now(days=-100))
    world.pass_s(0)
    world.end("done")
    assert world.pass_s(LOOK_EVERY_S) == "renew"
    world.end("refused", "one ended 100 days ago; it needs a new token")
    assert [(event.kind, event.severity) for event in world.events] == [("error", "error")]
    assert "needs a new token" in world.events[0].reason
    assert world.pass_s(1799) is None
    # A person brings a token: it is used at once, although renewal was refused a moment ago.
    (tmp_path / "token").write_text(TOKEN)
    assert world.pass_s(LOOK_EVERY_S) == "enrol"
    world.end("refused", "used already", knows_time=False)
    assert world.pass_s(1799) is None


def test_a_file_that_is_no_token_is_told_once(tmp_path: Path):
    (tmp_path / "token").write_text("nonsense")
    world = World(tmp_path)
    assert world.pass_s(0) is None
    assert world.pass_s(LOOK_EVERY_S) is None
    assert len(world.events) == 1


def test_an_end_ends_what_is_at_work(tmp_path: Path):
    (tmp_path / "token").write_text(TOKEN)
    world = World(tmp_path)
    world.pass_s(0)
    world.duty.stop()
    assert world.children[-1].is_cancelled


def test_what_the_disk_has_is_what_is_used(tmp_path: Path):
    world = World(tmp_path, held=held_now())
    (tmp_path / "token").write_text(TOKEN)
    world.pass_s(0)
    world.end("done")
    assert world.used == []
    assert "cannot be read" in world.events[-1].reason
    assert msgspec.structs.asdict(world.events[-1])["severity"] == "error"
