"""Whatever a road loses, doubles or reorders, and whatever thinning gives up: what is not dropped is stored once."""

import itertools
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.errors import LinkError
from broker.messages import Event, RecordKey, Stored, TelemetryWindow, encode_body, parse
from broker.packs import unpack
from broker.topics import Channel
from edge_agent.telemetry.forwarder import Forwarder
from edge_agent.telemetry.spool import Spool
from tests.unit.edge_agent.examples import ManualClock, window_of


@dataclass
class Receiver:
    """Stores each record once, and knows how far it has by the rule of `RecordKey.previous`."""

    epoch: int = 0
    through: int = 0
    stored: dict[int, Any] = field(default_factory=dict)
    previous: dict[int, int] = field(default_factory=dict)

    def receive(self, key: RecordKey, body: Any) -> None:
        if key.epoch != self.epoch:
            self.epoch, self.through, self.stored, self.previous = key.epoch, 0, {}, {}
        if key.sequence not in self.stored:
            self.stored[key.sequence] = body
        self.previous[key.sequence] = min(key.previous, self.previous.get(key.sequence, key.previous))
        while ready := [n for n, p in self.previous.items() if n > self.through and p <= self.through]:
            self.through = min(ready)

    def mark(self) -> Stored:
        return Stored(self.epoch, self.through, 0.0)


class Delivery(RuleBasedStateMachine):
    """A device with a small spool, a bad road, and a monitor."""

    @initialize(seed=st.integers(0, 2**32), max_bytes=st.sampled_from([600, 1000, 1500, 1 << 20]))
    def start(self, seed: int, max_bytes: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.max_bytes = max_bytes
        self.rng = random.Random(seed)
        self.clock = ManualClock()
        self.road: list[tuple[Channel, bytes]] = []
        self.receiver = Receiver()
        self.marks: list[Stored] = []
        self.next_row = 0
        self.events_put = 0
        self.is_cut = False
        self.open()

    def open(self) -> None:
        self.spool = Spool(Path(self.folder.name) / "spool.db", self.rng, self.max_bytes)
        self.forwarder = Forwarder(
            self.spool, self.publish, self.clock, self.rng, resend_after_s=5.0, in_flight=6, together=3
        )
        self.forwarder.on_link(True)

    def publish(self, channel: Channel, payload: bytes) -> None:
        if self.is_cut:
            raise LinkError("cut")
        self.road.append((channel, payload))

    @rule(windows=st.lists(st.integers(1, 4), min_size=1, max_size=4), with_event=st.booleans())
    def score(self, windows: list[int], with_event: bool) -> None:  # noqa: FBT001
        for rows in windows:
            window = window_of(self.next_row, self.next_row + rows - 1)
            records = [(Channel.TELEMETRY, encode_body(window))]
            if with_event:
                records.append((Channel.EVENTS, encode_body(Event(f"e{self.events_put}", 0.0, "info", "x" * 60))))
                self.events_put += 1
            self.next_row += rows
            self.spool.put(records, cursor=self.next_row)

    @rule()
    def step(self) -> None:
        self.forwarder.step()

    @rule(seconds=st.floats(0.1, 200))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(is_cut=st.booleans())
    def cut_or_mend(self, is_cut: bool) -> None:  # noqa: FBT001
        self.is_cut = is_cut
        self.forwarder.on_link(not is_cut)

    @rule()
    def restart(self) -> None:
        assert self.spool.cursor() == self.next_row
        self.spool.close()
        self.open()

    @rule(seed=st.integers(0, 2**16), lose=st.floats(0, 1), twice=st.floats(0, 1))
    def travel(self, seed: int, lose: float, twice: float) -> None:
        chance = random.Random(seed)
        road, self.road = self.road, []
        chance.shuffle(road)
        for channel, payload in road:
            if chance.random() < lose:
                continue
            self.deliver(channel, payload)
            if chance.random() < twice:
                self.deliver(channel, payload)

    def deliver(self, channel: Channel, payload: bytes) -> None:
        for each in unpack(channel, payload):
            key, body = parse(channel, each)
            assert key is not None
            self.receiver.receive(key, body)
            self.marks.append(self.receiver.mark())

    @rule(data=st.data())
    def hear_a_mark(self, data: st.DataObject) -> None:
        if self.marks:
            # Any mark, an old one too: retained messages and reconnects bring them in any order.
            self.forwarder.on_stored(data.draw(st.sampled_from(self.marks)))

    @invariant()
    def rows_are_never_counted_twice(self) -> None:
        if not hasattr(self, "receiver"):
            return
        seen: list[tuple[int, int]] = sorted(
            (w.first_row, w.last_row) for w in self.receiver.stored.values() if isinstance(w, TelemetryWindow)
        )
        assert all(a[1] < b[0] for a, b in itertools.pairwise(seen))

    @invariant()
    def nothing_is_released_that_is_not_stored(self) -> None:
        if hasattr(self, "receiver"):
            released = sum(counts.stored for counts in self.spool.counts().values())
            assert released <= len(self.receiver.stored)

    def teardown(self) -> None:
        """Mend the road: everything must arrive, and the device must be able to let go of it."""
        if not hasattr(self, "receiver"):
            return
        if self.is_cut:
            self.is_cut = False
            self.forwarder.on_link(True)
        for _ in range(2000):
            if not any(counts.waiting for counts in self.spool.counts().values()):
                break
            self.forwarder.step()
            road, self.road = self.road, []
            for channel, payload in road:
                self.deliver(channel, payload)
            self.forwarder.on_stored(self.receiver.mark())
            self.clock.advance(50.0)
        counts = self.spool.counts()
        assert not any(each.waiting for each in counts.values()), "the spool never empties"
        windows = [w for w in self.receiver.stored.values() if isinstance(w, TelemetryWindow)]
        events = [e for e in self.receiver.stored.values() if isinstance(e, Event)]
        dropped = counts[Channel.TELEMETRY].dropped
        event(f"merged: {counts[Channel.TELEMETRY].merged > 0}, dropped: {dropped > 0}")
        # A record dropped after it was sent may have been stored all the same: at least, not exactly.
        assert len(events) >= self.events_put - counts[Channel.EVENTS].dropped
        assert len({e.kind for e in events}) == len(events)
        if not dropped:
            assert sum(w.rows_scored for w in windows) == self.next_row
        self.spool.close()
        self.folder.cleanup()


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
