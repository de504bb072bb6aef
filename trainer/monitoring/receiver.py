"""Receives what devices send, for one or more shards: queue, one writer, one transaction a batch, then the marks.

A mark is published only after the commit it speaks of, so that what a device releases is stored. Labels have no marks:
their delivery waits for the commit, so that the broker keeps them (where it keeps anything) until they are stored. The
queue is bounded: when it is full, or the database is away, the link itself is held up, and devices keep their records.
What cannot be stored for a reason that nobody foresaw is never acknowledged: a record gets no mark, and its device
sends it again; a label is tried again while its delivery waits.
"""

import contextlib
import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.client import Delivery, Endpoint, WireClient
from broker.errors import LinkError, WireError
from broker.messages import Epoch, Status, Stored, encode, parse_as
from broker.topics import SHARDS, Channel, FleetId, Shard, Topic, fleet_filter, shard_filter
from edge_agent.clock import Clock
from trainer.monitoring.doubles import Doubles
from trainer.monitoring.intake import CHANNELS, Intake, IntakeCounts, Mark
from trainer.monitoring.rates import RateLimit, Rates
from trainer.monitoring.store import Store, StoreUnavailableError
from trainer.monitoring.turns import Turns

logger = logging.getLogger(__name__)

_QUEUE_MESSAGES = 20_000
_BATCH_MESSAGES = 2_000
# Of one device in one transaction: some twenty milliseconds, for which the others wait.
_SHARE_MESSAGES = 64
_LOOK_S = 0.2
_FULL_S = 0.01
_RETRY_S = 1.0
_JOIN_S = 30.0


class Publisher(Protocol):
    """Hands messages to the broker, as ``broker.client.WireClient`` does."""

    def publish(self, topic: Topic, payload: bytes) -> None:
        """Hand a message over without waiting; raise LinkError when there is no link."""
        ...


class _ClosingError(Exception):
    """The receiver is closed while the database is away."""

    def __init__(self, messages: int) -> None:
        super().__init__(f"{messages} messages were not stored")
        self.messages = messages


@dataclass(frozen=True, slots=True)
class _Queued:
    """A delivery that waits for the writer, and what is set when it is stored."""

    delivery: Delivery
    stored: threading.Event | None


class Receiver:
    """The queue and its writer thread; knows no network: deliveries come in by `deliver`, marks go out by `publish`."""

    def __init__(
        self,
        store: Store,
        fleet: FleetId,
        publish: Callable[[Topic, bytes], None],
        clock: Clock,
        limit: RateLimit | None = None,
    ) -> None:
        self._intake = Intake(store, clock)
        self.rates = None if limit is None else Rates(limit, clock.monotonic_s)
        self.doubles = Doubles()
        self._fleet = fleet
        self._publish = publish
        self._clock = clock
        # A deque, which threads may share, and an event that is set only when the writer waits: half of what a
        # queue.Queue costs a message.
        self._queue: deque[_Queued] = deque()
        self._arrived = threading.Event()
        # Of the writer alone: what it took from the queue and has not stored.
        self._turns: Turns[_Queued] = Turns(_SHARE_MESSAGES)
        self._failed: list[_Queued] = []
        self._unsent: dict[str, Mark] = {}
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor-writer", daemon=True)
        self._is_waiting = False

    @property
    def counts(self) -> IntakeCounts:
        """What was taken in since the start."""
        return self._intake.counts

    @property
    def is_waiting_for_database(self) -> bool:
        """Whether the last transaction failed because the database is away."""
        return self._is_waiting

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery; waits while the queue is full, which holds up the link.

        From `drain` on it waits until `close`: what is not taken in must not be acknowledged.
        """
        if self.rates is not None and not self.rates.takes(delivery.topic, len(delivery.payload)):
            # No mark will cover it: a device that means well still has it, and sends it again later.
            return
        item = _Queued(delivery, threading.Event() if delivery.topic.channel is Channel.LABELS else None)
        while not self._is_queued(item):
            if self._closed.is_set():
                return
        while item.stored is not None and not item.stored.wait(_LOOK_S):
            if self._closed.is_set():
                return

    def drain(self) -> None:
        """Take nothing more, store what is queued, if the database takes it now, and end the writer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def close(self) -> None:
        """Drain, and let go of a delivery that waits."""
        self.drain()
        self._closed.set()

    def _is_queued(self, item: _Queued) -> bool:
        if self._stopping.is_set():
            self._closed.wait(_LOOK_S)
            return False
        if len(self._queue) + len(self._turns) >= _QUEUE_MESSAGES:
            self._closed.wait(_FULL_S)
            return False
        self._queue.append(item)
        if not self._arrived.is_set():
            self._arrived.set()
        return True

    def _run(self) -> None:
        try:
            self._serve()
        except _ClosingError as error:
            # Devices still have these records: no mark was published.
            logger.warning("closing with %d messages that the database does not take", error.messages)

    def _serve(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                self._store(batch)
            elif self._stopping.is_set():
                return
            else:
                self._retry_failed()
            self._send_marks()

    def _next_batch(self) -> list[_Queued]:
        """Return what one transaction takes: all that waits, or what each device has a share in."""
        if not self._queue and not self._turns and not self._stopping.is_set():
            self._arrived.wait(_LOOK_S)
        # Cleared before the queue is emptied: what comes in between sets it again.
        self._arrived.clear()
        came: list[_Queued] = []
        while self._queue and len(came) < _QUEUE_MESSAGES:
            came.append(self._queue.popleft())
        if not self._turns and len(came) <= _SHARE_MESSAGES:
            return came
        self._turns.add((item.delivery.topic.device, item) for item in came)
        return self._turns.take(_BATCH_MESSAGES)

    def _store(self, batch: Sequence[_Queued]) -> None:
        """Store a batch, or what of it can be stored: a mistake of ours must not end the thread that all hangs on."""
        try:
            self._take(batch)
        except _ClosingError:
            raise
        except Exception:
            logger.exception("surprise while storing %d messages; trying each alone", len(batch))
            for item in batch:
                self._store_alone(item, logging.ERROR)

    def _store_alone(self, item: _Queued, level: int) -> None:
        try:
            self._take([item])
        except _ClosingError:
            raise
        except Exception:
            logger.log(level, "surprise while storing a message on %s", item.delivery.topic, exc_info=True)
            if item.stored is not None:
                self._failed.append(item)

    def _retry_failed(self) -> None:
        failed, self._failed = self._failed, []
        for item in failed:
            self._store_alone(item, logging.DEBUG)

    def _take(self, batch: Sequence[_Queued]) -> None:
        """Store a batch, however long it takes; nothing is dropped, and nothing is marked or acknowledged before."""
        while True:
            try:
                marks = self._intake.take([item.delivery for item in batch])
            except StoreUnavailableError as error:
                logger.log(logging.DEBUG if self._is_waiting else logging.WARNING, "%s; trying again", error)
                self._is_waiting = True
                if self._stopping.wait(_RETRY_S):
                    # Devices still have these records: no mark was published.
                    raise _ClosingError(len(batch)) from error
                continue
            if self._is_waiting:
                logger.info("the fleet's database is available again")
                self._is_waiting = False
            for mark in marks:
                self._unsent[mark.device] = mark
            self._see_who_speaks(batch)
            for item in batch:
                if item.stored is not None:
                    item.stored.set()
            return

    def _see_who_speaks(self, batch: Sequence[_Queued]) -> None:
        for item in batch:
            topic = item.delivery.topic
            if topic.channel is Channel.STATUS:
                # What cannot be read was refused before.
                with contextlib.suppress(WireError):
                    self.doubles.see(topic.device, parse_as(Status, Channel.STATUS, item.delivery.payload))

    def _send_marks(self) -> None:
        """Publish the latest mark of each device; without a link they wait for it."""
        for device, mark in list(self._unsent.items()):
            topic = Topic(self._fleet, mark.device, Channel.STORED)
            stored = Stored(Epoch(mark.epoch), mark.through, self._clock.utc_s())
            try:
                self._publish(topic, encode(stored))
            except LinkError as error:
                logger.debug("mark not sent: %s", error)
                return
            del self._unsent[device]


class Monitor:
    """A receiver on the wire: subscribed to its shards, publishing marks."""

    def __init__(
        self,
        endpoint: Endpoint,
        fleet: FleetId,
        store: Store,
        *,
        clock: Clock,
        rng: random.Random,
        shards: Sequence[Shard] = SHARDS,
        tls: ssl.SSLContext | None = None,
        limit: RateLimit | None = None,
    ) -> None:
        """Describe the monitor; nothing is connected before `start`.

        Args:
            endpoint: of the broker.
            fleet: whose devices.
            store: where everything is kept.
            clock: for the times of reception.
            rng: for the waits between attempts to connect.
            shards: those that this process owns; monitors of one fleet own disjoint ones.
            tls: how the broker is known, and who this is to it; None: nothing is encrypted.
            limit: what one device may send; None: as much as it likes.
        """
        self.client = WireClient(
            endpoint,
            f"monitor-{fleet}-{min(shards)}",
            filters=filters_of(fleet, shards),
            on_delivery=self._deliver,
            rng=rng,
            max_queued=100_000,
            tls=tls,
        )
        self.receiver = Receiver(store, fleet, self.client.publish, clock, limit)

    def start(self) -> None:
        """Start to receive; the broker need not be there yet."""
        self.receiver.start()
        self.client.start()

    def close(self) -> None:
        """Store what has come, send the last marks, and leave the broker politely."""
        self.receiver.drain()
        # The network thread may wait in `deliver`: first the goodbye is queued, then it is let go, so that its last
        # delivery is acknowledged after the goodbye, that is, not at all.
        goodbye = threading.Thread(target=self.client.close, name="monitor-goodbye", daemon=True)
        goodbye.start()
        goodbye.join(_LOOK_S)
        self.receiver.close()
        goodbye.join(_JOIN_S)

    def _deliver(self, delivery: Delivery) -> None:
        self.receiver.deliver(delivery)


def filters_of(fleet: FleetId, shards: Sequence[Shard]) -> tuple[str, ...]:
    """Return the subscriptions of a monitor that owns these shards."""
    if set(shards) == set(SHARDS):
        return tuple(fleet_filter(fleet, channel) for channel in CHANNELS)
    return tuple(shard_filter(fleet, shard, channel) for shard in shards for channel in CHANNELS)
