"""A minimal, real receiver: stores each record of one fleet once, by (device, epoch, sequence), then says so."""

import random
import threading
from collections import defaultdict
from typing import NamedTuple

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import LinkError
from broker.messages import (
    Command,
    Desired,
    Event,
    RecordKey,
    Reply,
    Samples,
    Status,
    Stored,
    TelemetryWindow,
    encode,
    parse,
)
from broker.packs import unpack
from broker.topics import Channel, DeviceId, FleetId, Topic, fleet_filter
from edge_agent.clock import SystemClock

CHANNELS = (Channel.STATUS, Channel.TELEMETRY, Channel.SAMPLES, Channel.EVENTS, Channel.REPLY)


class Key(NamedTuple):
    """What a record is stored under."""

    device: str
    epoch: int
    sequence: int


class Receiver:
    """Stores records in memory; `start` and `close` it. Its fields may be read by any thread.

    Attributes:
        records: body by key; each is stored once.
        duplicates: how often a record came that was stored already.
        statuses, replies: all that came, oldest first.
        is_marking: set it to False to receive and say nothing.
    """

    def __init__(self, endpoint: Endpoint, fleet: str = "test") -> None:
        self.fleet = FleetId(fleet)
        self.records: dict[Key, tuple[RecordKey, TelemetryWindow | Samples | Event]] = {}
        self.duplicates = 0
        self.statuses: list[tuple[str, Status]] = []
        self.replies: list[Reply] = []
        self.is_marking = True
        self._through: dict[tuple[str, int], int] = defaultdict(int)
        # What arrived out of its turn, by (device, epoch): sequence and what must be stored before it.
        self._waiting: dict[tuple[str, int], dict[int, int]] = defaultdict(dict)
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._client = WireClient(
            endpoint,
            f"receiver.{fleet}",
            filters=tuple(fleet_filter(self.fleet, channel) for channel in CHANNELS),
            on_delivery=self._store,
            rng=random.Random(1),
        )

    def start(self) -> None:
        """Connect."""
        self._client.start()

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._client.is_connected

    def publish(self, device: str, channel: Channel, body: Desired | Command | Stored) -> None:
        """Say something to a device."""
        self._client.publish_and_wait(Topic(self.fleet, DeviceId(device), channel), encode(body), timeout_s=10)

    def publish_raw(self, device: str, channel: Channel, payload: bytes) -> None:
        """Say something that may be nonsense."""
        self._client.publish_and_wait(Topic(self.fleet, DeviceId(device), channel), payload, timeout_s=10)

    def windows(self, device: str) -> list[TelemetryWindow]:
        """Return the windows of a device in the order of their records."""
        return [body for body in self._bodies(device) if isinstance(body, TelemetryWindow)]

    def samples(self, device: str) -> list[Samples]:
        """Return the samples of a device in the order of their records."""
        return [body for body in self._bodies(device) if isinstance(body, Samples)]

    def events(self, device: str, kind: str | None = None) -> list[Event]:
        """Return the events of a device, of one kind, in the order of their records."""
        events = [body for body in self._bodies(device) if isinstance(body, Event)]
        return [event for event in events if kind in {None, event.kind}]

    def kinds(self, device: str) -> list[str]:
        """Return the kinds of a device's events."""
        return [event.kind for event in self.events(device)]

    def status(self, device: str) -> Status | None:
        """Return a device's last status."""
        with self._lock:
            return next((status for name, status in reversed(self.statuses) if name == device), None)

    def rows(self, device: str) -> int:
        """Return how many rows a device's windows count."""
        return sum(w.rows_scored + sum(n for _, n in w.rows_refused) for w in self.windows(device))

    def stored_through(self, device: str, epoch: int) -> int:
        """Return the last sequence that was marked as stored."""
        with self._lock:
            return self._through[device, epoch]

    def _bodies(self, device: str) -> list[TelemetryWindow | Samples | Event]:
        with self._lock:
            return [self.records[key][1] for key in sorted(self.records) if key.device == device]

    def _store(self, delivery: Delivery) -> None:
        for payload in unpack(delivery.topic.channel, delivery.payload):
            self._store_one(delivery, payload)

    def _store_one(self, delivery: Delivery, payload: bytes) -> None:
        device = str(delivery.topic.device)
        key, body = parse(delivery.topic.channel, payload)
        with self._lock:
            if isinstance(body, Status):
                self.statuses.append((device, body))
            elif isinstance(body, Reply):
                self.replies.append(body)
            elif key is not None and isinstance(body, TelemetryWindow | Samples | Event):
                self._store_record(device, key, body)
        if key is not None and self.is_marking:
            self._mark(device, key.epoch)

    def _store_record(self, device: str, key: RecordKey, body: TelemetryWindow | Samples | Event) -> None:
        place = Key(device, key.epoch, key.sequence)
        if place in self.records:
            self.duplicates += 1
        # The key may tell more the second time: that a record before it was dropped.
        self.records[place] = (key, body)
        spool = (device, int(key.epoch))
        waiting = self._waiting[spool]
        waiting[key.sequence] = key.previous
        while following := [sequence for sequence, before in waiting.items() if before <= self._through[spool]]:
            for sequence in following:
                self._through[spool] = max(self._through[spool], sequence)
                del waiting[sequence]

    def _mark(self, device: str, epoch: int) -> None:
        through = self._through[device, epoch]
        try:
            self._client.publish(
                Topic(self.fleet, DeviceId(device), Channel.STORED),
                encode(Stored(epoch, through, self._clock.utc_s())),
            )
        except LinkError:
            # The device sends again, and the mark goes out with the next record.
            return
