"""Turns deliveries into rows of the store, each record once, and says how far each device is stored.

What cannot be read is counted for its device and kept for people; it harms no other device. One caller at a time (the
receiver's writer thread): what is stored is the database's to say, the memory here only spares asking it.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import bindparam, select

from broker.client import Delivery
from broker.errors import WireError
from broker.messages import (
    MAX_BYTES,
    VERSION,
    Epoch,
    Event,
    Labels,
    MalformedMessageError,
    RecordKey,
    Samples,
    Spooled,
    Status,
    TelemetryWindow,
    UnknownVersionError,
    encode,
    encode_record,
)
from broker.packs import Parsed, parse_each
from broker.topics import RULES, Channel, DeviceId
from edge_agent.clock import Clock
from trainer.monitoring import tables
from trainer.monitoring.contiguity import MAX_AHEAD, Contiguity
from trainer.monitoring.shadows import shadow_rows
from trainer.monitoring.store import Store, StoreError, StoreUnavailableError, insert_once, upsert

logger = logging.getLogger(__name__)

CHANNELS = (Channel.STATUS, Channel.TELEMETRY, Channel.SAMPLES, Channel.EVENTS, Channel.LABELS)

# The epoch of events that the monitor itself tells of a device; no spool has it.
MONITORS_OWN = -1

_MAX_REMEMBERED = 20_000
_KEPT_PAYLOAD_BYTES = 4096
_SPOOLED = msgspec.msgpack.Decoder(Spooled)
_FEATURES = msgspec.msgpack.Encoder()

# Asked for each device that is new to this process, or forgotten: to make a statement takes as long as to run it.
_THROUGH = select(tables.MARKS.c.through).where(
    tables.MARKS.c.device == bindparam("device"), tables.MARKS.c.epoch == bindparam("epoch")
)
_AHEAD = (
    select(tables.RECORDS.c.sequence, tables.RECORDS.c.previous)
    .where(
        tables.RECORDS.c.device == bindparam("device"),
        tables.RECORDS.c.epoch == bindparam("epoch"),
        tables.RECORDS.c.sequence > bindparam("through"),
    )
    .order_by(tables.RECORDS.c.sequence)
    .limit(MAX_AHEAD)
)

Row = dict[str, Any]
RecordName = tuple[DeviceId, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """Every record of a device's epoch up to ``through`` is stored."""

    device: DeviceId
    epoch: int
    through: int


@dataclass(slots=True)
class IntakeCounts:
    """What this process has taken in since its start."""

    stored: int = 0
    resent: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Batch:
    """Rows of one transaction."""

    records: list[Row] = field(default_factory=list)
    windows: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    shadows: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    statuses: dict[DeviceId, Row] = field(default_factory=dict)
    bundles: list[Row] = field(default_factory=list)
    refused: dict[tuple[DeviceId, str, str], Row] = field(default_factory=dict)
    resent: dict[RecordName, int] = field(default_factory=dict)
    touched: dict[RecordName, None] = field(default_factory=dict)


class Intake:
    """Stores batches of deliveries."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[RecordName, Contiguity] = OrderedDict()
        self._running: dict[DeviceId, tuple[str | None, int | None]] = {}
        self.counts = IntakeCounts()

    def take(self, deliveries: Sequence[Delivery]) -> list[Mark]:
        """Store deliveries in one transaction; return the marks of the devices in it, the latest epoch last.

        Taking the same deliveries again is harmless.

        Raises:
            StoreUnavailableError: take them again later.
            StoreError: the database does not even take that they are refused.
        """
        return self._take_or_forget(_Arriving(deliveries))

    def _take_or_forget(self, messages: "_Arriving | Sequence[_Arrived]") -> list[Mark]:
        try:
            return self._take_or_part(messages)
        except BaseException:
            # Whatever it was: what was noted of records that were not committed would let a later mark cover them.
            self._forget()
            raise

    def _take_or_part(self, messages: "_Arriving | Sequence[_Arrived]") -> list[Mark]:
        try:
            return self._take(messages)
        except StoreUnavailableError:
            raise
        except (StoreError, ValueError, TypeError, OverflowError) as error:
            # Drivers raise ValueError and its like themselves for what their database cannot hold.
            self._forget()
            each = list(messages)
            if len(each) == 1:
                return self._refuse_alone(each[0].delivery, error)
        # One of them is poison to the database (text that it cannot hold): find it, and harm no other.
        marks = {}
        for message in each:
            for mark in self._take_or_forget([message]):
                marks[mark.device, mark.epoch] = mark
        return list(marks.values())

    def _take(self, messages: "_Arriving | Sequence[_Arrived]") -> list[Mark]:
        now = self._clock.utc_s()
        batch = _Batch()
        for message in messages:
            self._add(batch, message, now)
        marks = [Mark(device, epoch, self._known[device, epoch].through) for device, epoch in batch.touched]
        self._write(batch, marks, now)
        self._count(batch)
        while len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
        return [mark for mark in marks if mark.through > 0]

    def _add(self, batch: _Batch, message: "_Arrived", now: float) -> None:
        delivery = message.delivery
        device, channel = delivery.topic.device, delivery.topic.channel
        if isinstance(message.said, WireError):
            self._add_refusal(batch, delivery, message.said, now)
            return
        key, body, _ = message.said
        if key is not None:
            if not self._is_new_record(batch, device, key, channel.value, now):
                return
            if isinstance(body, TelemetryWindow):
                batch.windows.append(_window_row(device, key, body, _body_of(key, delivery.payload), now))
            elif isinstance(body, Samples):
                batch.samples += _sample_rows(device, body, now)
            elif isinstance(body, Event):
                batch.events.append(_event_row(device, key, body, now))
                batch.shadows += shadow_rows(device, key, body)
        elif isinstance(body, Labels):
            batch.labels += _label_rows(device, body, now)
        elif isinstance(body, Status):
            self._add_status(batch, device, body, now)

    def _add_refusal(self, batch: _Batch, delivery: Delivery, error: WireError, now: float) -> None:
        _add_refused(batch, delivery, error, now)
        if isinstance(error, UnknownVersionError):
            batch.events.append(_event_of_unknown_version(delivery, error, now))
        key = _key_of(delivery) if isinstance(error, MalformedMessageError) else None
        if key is not None:
            # Its body will be no better when it is sent again: it counts as received, kept for people.
            self._is_new_record(batch, delivery.topic.device, key, "refused", now)

    def _is_new_record(self, batch: _Batch, device: DeviceId, key: RecordKey, kind: str, now: float) -> bool:
        name = (device, int(key.epoch))
        batch.touched[name] = None
        if not self._contiguity(name).take(key):
            batch.resent[name] = batch.resent.get(name, 0) + 1
            return False
        batch.records.append(
            {
                "device": device,
                "epoch": key.epoch,
                "sequence": key.sequence,
                "previous": key.previous,
                "channel": kind,
                "received_utc_s": now,
            }
        )
        return True

    def _add_status(self, batch: _Batch, device: DeviceId, status: Status, now: float) -> None:
        bundle, version = (status.bundle.name, status.bundle.version) if status.bundle else (None, None)
        batch.statuses[device] = {
            "device": device,
            "online": status.online,
            "received_utc_s": now,
            "bundle": bundle,
            "version": version,
            "update_state": status.update_state,
            "body": encode(status),
        }
        if device not in self._running:
            self._running[device] = self._last_bundle(device)
        if status.bundle is not None and self._running[device] != (bundle, version):
            self._running[device] = (bundle, version)
            batch.bundles.append(
                {
                    "device": device,
                    "since_utc_s": now,
                    "bundle": bundle,
                    "version": version,
                    "variant": status.variant,
                }
            )

    def _last_bundle(self, device: DeviceId) -> tuple[str | None, int | None]:
        history = tables.BUNDLE_HISTORY
        query = (
            select(history.c.bundle, history.c.version)
            .where(history.c.device == device)
            .order_by(history.c.id.desc())
            .limit(1)
        )
        with self._store.reading() as connection:
            row = connection.execute(query).first()
        return (row.bundle, row.version) if row else (None, None)

    def _contiguity(self, name: RecordName) -> Contiguity:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._load_contiguity(name)
        self._known.move_to_end(name)
        return known

    def _load_contiguity(self, name: RecordName) -> Contiguity:
        device, epoch = name
        named = {"device": device, "epoch": epoch}
        with self._store.reading() as connection:
            through = connection.execute(_THROUGH, named).scalar() or 0
            rows = connection.execute(_AHEAD, {**named, "through": through}).all()
        return Contiguity(through, ((row.sequence, row.previous) for row in rows))

    def _write(self, batch: _Batch, marks: Sequence[Mark], now: float) -> None:
        mark_rows = [
            {
                "device": mark.device,
                "epoch": mark.epoch,
                "through": mark.through,
                "resent": batch.resent.get((mark.device, mark.epoch), 0),
                "updated_utc_s": now,
            }
            for mark in marks
        ]
        with self._store.writing() as connection:
            insert_once(connection, tables.RECORDS, batch.records)
            insert_once(connection, tables.WINDOWS, batch.windows)
            insert_once(connection, tables.SAMPLES, batch.samples)
            insert_once(connection, tables.EVENTS, batch.events)
            insert_once(connection, tables.SHADOWS, batch.shadows)
            insert_once(connection, tables.LABELS, batch.labels)
            upsert(connection, tables.STATUSES, list(batch.statuses.values()))
            insert_once(connection, tables.BUNDLE_HISTORY, batch.bundles)
            upsert(connection, tables.REFUSED, list(batch.refused.values()), add=("messages",))
            upsert(connection, tables.MARKS, mark_rows, add=("resent",))

    def _count(self, batch: _Batch) -> None:
        self.counts.stored += len(batch.records)
        self.counts.resent += sum(batch.resent.values())
        self.counts.refused += sum(row["messages"] for row in batch.refused.values())

    def _refuse_alone(self, delivery: Delivery, error: Exception) -> list[Mark]:
        logger.warning("a message on %s cannot be stored: %s", delivery.topic, error)
        now = self._clock.utc_s()
        batch = _Batch()
        _add_refused(batch, delivery, error, now)
        key = _key_of(delivery)
        if key is not None:
            self._is_new_record(batch, delivery.topic.device, key, "refused", now)
        marks = [Mark(device, epoch, self._known[device, epoch].through) for device, epoch in batch.touched]
        self._write(batch, marks, now)
        self._count(batch)
        return [mark for mark in marks if mark.through > 0]

    def _forget(self) -> None:
        """Forget what was noted of records that were not committed: the database knows what is stored."""
        self._known.clear()
        self._running.clear()


@dataclass(frozen=True, slots=True)
class _Arrived:
    """One record or message, read once.

    Attributes:
        delivery: as it came; of a pack, as its record would have come alone.
        said: what it says, or why it was refused.
    """

    delivery: Delivery
    said: Parsed | WireError


@dataclass(frozen=True, slots=True)
class _Arriving:
    """What deliveries carry, read anew at each pass: a batch of windows is let go one by one, not held and searched."""

    deliveries: Sequence[Delivery]

    def __iter__(self) -> Iterator[_Arrived]:
        for delivery in self.deliveries:
            yield from _read(delivery)


def _read(delivery: Delivery) -> list[_Arrived]:
    """Return what a delivery carries; a pack that cannot be unpacked stays one, refused with its reason."""
    try:
        parsed = parse_each(delivery.topic.channel, delivery.payload)
    except WireError as error:
        return [_Arrived(delivery, error)]
    if len(parsed) == 1 and parsed[0][2] is delivery.payload:
        return [_Arrived(delivery, parsed[0])]
    return [_Arrived(structs.replace(delivery, payload=each[2]), each) for each in parsed]


def _key_of(delivery: Delivery) -> RecordKey | None:
    """Return the name of a record whose body is not readable, if at least that can be read."""
    channel, payload = delivery.topic.channel, delivery.payload
    if not RULES[channel].spooled or len(payload) > MAX_BYTES[channel] or payload[:1] != bytes([VERSION]):
        return None
    try:
        return _SPOOLED.decode(memoryview(payload)[1:]).key
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _add_refused(batch: _Batch, delivery: Delivery, error: Exception, now: float) -> None:
    device, channel, kind = delivery.topic.device, delivery.topic.channel.value, type(error).__name__
    earlier = batch.refused.get((device, channel, kind))
    batch.refused[device, channel, kind] = {
        "device": device,
        "channel": channel,
        "kind": kind,
        "messages": 1 + (earlier["messages"] if earlier else 0),
        "last_utc_s": now,
        "last_reason": ascii(str(error))[:1000],
        "last_payload": delivery.payload[:_KEPT_PAYLOAD_BYTES],
    }


def _body_of(key: RecordKey, payload: bytes) -> bytes:
    """Return the encoded body of a spooled record that was parsed before; cheaper than encoding it again."""
    head = encode_record(key, b"")
    if payload.startswith(head):
        return payload[len(head) :]
    # A key that is written otherwise than we write it, or with more fields.
    return bytes(_SPOOLED.decode(memoryview(payload)[1:]).body)


def _window_row(device: DeviceId, key: RecordKey, window: TelemetryWindow, body: bytes, now: float) -> Row:
    return {
        "device": device,
        "epoch": key.epoch,
        "sequence": key.sequence,
        "bundle": window.bundle.name,
        "version": window.bundle.version,
        "variant": window.variant,
        "started_utc_s": window.started_utc_s,
        "ended_utc_s": window.ended_utc_s,
        "received_utc_s": now,
        "first_row": window.first_row,
        "last_row": window.last_row,
        "rows_scored": window.rows_scored,
        "rows_refused": min(sum(rows for _, rows in window.rows_refused), 2**53),
        "body": body,
    }


def _sample_rows(device: DeviceId, samples: Samples, now: float) -> list[Row]:
    return [
        {
            "device": device,
            "prediction_id": sample.prediction_id,
            "bundle": samples.bundle.name,
            "version": samples.bundle.version,
            "scored_utc_s": sample.scored_utc_s,
            "received_utc_s": now,
            "features": _FEATURES.encode(sample.features),
            "prediction": sample.prediction,
            "confidence": sample.confidence,
            "agrees": sample.agrees,
            "reason": sample.reason,
            "ask_id": sample.ask_id,
        }
        for sample in samples.rows
    ]


def _event_row(device: DeviceId, key: RecordKey, event: Event, now: float) -> Row:
    return {
        "device": device,
        "epoch": key.epoch,
        "sequence": key.sequence,
        "kind": event.kind,
        "at_utc_s": event.at_utc_s,
        "received_utc_s": now,
        "severity": event.severity,
        "reason": event.reason,
        "bundle": event.bundle.name if event.bundle else None,
        "version": event.bundle.version if event.bundle else None,
        "order_id": event.order_id,
    }


def _event_of_unknown_version(delivery: Delivery, error: UnknownVersionError, now: float) -> Row:
    """Return an event of the monitor's own: a device speaks as no reader here does. Each version is told once."""
    channel = delivery.topic.channel
    told = Event("unknown_version", now, "warning", str(error))
    # The device's own records have other epochs, whatever they say.
    name = RecordKey(Epoch(MONITORS_OWN), list(Channel).index(channel) << 8 | delivery.payload[0], 0)
    return _event_row(delivery.topic.device, name, told, now)


def _label_rows(device: DeviceId, labels: Labels, now: float) -> list[Row]:
    return [
        {
            "device": device,
            "prediction_id": row.prediction_id,
            "label_text": row.label if isinstance(row.label, str) else None,
            "label_value": None if isinstance(row.label, str) else float(row.label),
            "known_utc_s": row.known_utc_s,
            "received_utc_s": now,
            "source": labels.source,
        }
        for row in labels.rows
    ]
