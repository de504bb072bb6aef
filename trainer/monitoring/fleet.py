"""What the store knows of devices and their windows: typed queries, nothing is decided here."""

from typing import Any

import msgspec
from sqlalchemy import Row, Select, func, select

from broker.errors import WireError
from broker.messages import BundleRef, Status, TelemetryWindow, parse_as
from broker.topics import Channel, DeviceId
from trainer.monitoring.store import Store
from trainer.monitoring.tables import EVENTS, MARKS, RECORDS, REFUSED, SAMPLES, STATUSES, WINDOWS

_WINDOW = msgspec.msgpack.Decoder(TelemetryWindow)


class DeviceState(msgspec.Struct, frozen=True):
    """What a device said last.

    Attributes:
        seen_utc_s: when its last status came; the monitor's clock.
    """

    device: DeviceId
    online: bool
    seen_utc_s: float
    bundle: BundleRef | None
    update_state: str
    status: Status | None


class StoredWindow(msgspec.Struct, frozen=True):
    """A window with its place in the store: ids grow in the order of arrival."""

    number: int
    device: DeviceId
    received_utc_s: float
    window: TelemetryWindow


class StoredEvent(msgspec.Struct, frozen=True):
    """An event of a device."""

    number: int
    device: DeviceId
    kind: str
    at_utc_s: float
    severity: str
    reason: str
    bundle: BundleRef | None
    order_id: str | None


class DeviceTotals(msgspec.Struct, frozen=True):
    """Sums over everything that a device sent; the rows scored by the bundle asked for."""

    windows: int = 0
    rows_scored: int = 0
    rows_refused: int = 0
    samples: int = 0


class IntakeTotals(msgspec.Struct, frozen=True):
    """What the store holds: records once each, records that came again, messages that could not be read."""

    records: int
    resent: int
    refused: int


def list_devices(store: Store) -> tuple[DeviceState, ...]:
    """Return the last status of every device, by name."""
    with store.reading() as connection:
        rows = connection.execute(select(STATUSES).order_by(STATUSES.c.device)).all()
    return tuple(
        DeviceState(
            DeviceId(row.device), row.online, row.received_utc_s, _ref(row), row.update_state, _status(row.body)
        )
        for row in rows
    )


def latest_windows(
    store: Store, bundle: BundleRef, *, per_device: int, after: int = 0
) -> dict[DeviceId, tuple[StoredWindow, ...]]:
    """Return the latest windows of each device that one bundle scored, the earliest of them first.

    Args:
        store: to read from.
        bundle: that scored them.
        per_device: at most so many of each device.
        after: only windows with a greater number.
    """
    place = func.row_number().over(partition_by=WINDOWS.c.device, order_by=WINDOWS.c.id.desc()).label("place")
    ranked = _of_bundle(select(WINDOWS, place), bundle).where(WINDOWS.c.id > after).subquery()
    query = select(ranked).where(ranked.c.place <= per_device).order_by(ranked.c.id)
    found: dict[DeviceId, list[StoredWindow]] = {}
    with store.reading() as connection:
        for row in connection.execute(query):
            window = StoredWindow(row.id, DeviceId(row.device), row.received_utc_s, _WINDOW.decode(row.body))
            found.setdefault(window.device, []).append(window)
    return {device: tuple(windows) for device, windows in found.items()}


def last_window_number(store: Store) -> int:
    """Return the number of the window that was stored last; 0 when there is none."""
    with store.reading() as connection:
        return int(connection.execute(select(func.max(WINDOWS.c.id))).scalar() or 0)


def count_windows(store: Store, *, after: int, bundle: BundleRef | None = None) -> dict[DeviceId, int]:
    """Return how many windows with a number greater than ``after`` each device has."""
    query = select(WINDOWS.c.device, func.count().label("n")).where(WINDOWS.c.id > after).group_by(WINDOWS.c.device)
    if bundle is not None:
        query = _of_bundle(query, bundle)
    with store.reading() as connection:
        return {DeviceId(row.device): row.n for row in connection.execute(query)}


def totals_of_devices(store: Store, bundle: BundleRef | None = None) -> dict[DeviceId, DeviceTotals]:
    """Return sums by device: of everything, or of what one bundle scored."""
    windows = select(
        WINDOWS.c.device,
        func.count().label("windows"),
        func.sum(WINDOWS.c.rows_scored).label("scored"),
        func.sum(WINDOWS.c.rows_refused).label("refused"),
    ).group_by(WINDOWS.c.device)
    samples = select(SAMPLES.c.device, func.count().label("n")).group_by(SAMPLES.c.device)
    if bundle is not None:
        windows = _of_bundle(windows, bundle)
        samples = samples.where(SAMPLES.c.bundle == bundle.name, SAMPLES.c.version == bundle.version)
    with store.reading() as connection:
        sampled = {row.device: row.n for row in connection.execute(samples)}
        sums = {row.device: row for row in connection.execute(windows)}
    found = {}
    for device in sampled.keys() | sums.keys():
        row = sums.get(device)
        counts = (int(row.windows), int(row.scored or 0), int(row.refused or 0)) if row is not None else (0, 0, 0)
        found[DeviceId(device)] = DeviceTotals(*counts, sampled.get(device, 0))
    return found


def events_of_order(store: Store, order_id: str) -> tuple[StoredEvent, ...]:
    """Return what devices said under an order, in the order of arrival."""
    return _events(store, select(EVENTS).where(EVENTS.c.order_id == order_id).order_by(EVENTS.c.id))


def list_events(store: Store, *, after: int = 0) -> tuple[StoredEvent, ...]:
    """Return the events with a number greater than ``after``, in the order of arrival."""
    return _events(store, select(EVENTS).where(EVENTS.c.id > after).order_by(EVENTS.c.id))


def intake_totals(store: Store) -> IntakeTotals:
    """Return what the store holds."""
    with store.reading() as connection:
        records = connection.execute(select(func.count()).select_from(RECORDS)).scalar()
        resent = connection.execute(select(func.sum(MARKS.c.resent))).scalar()
        refused = connection.execute(select(func.sum(REFUSED.c.messages))).scalar()
    return IntakeTotals(int(records or 0), int(resent or 0), int(refused or 0))


def refused_by_device(store: Store) -> dict[DeviceId, int]:
    """Return how many messages of each device could not be read."""
    query = select(REFUSED.c.device, func.sum(REFUSED.c.messages).label("n")).group_by(REFUSED.c.device)
    with store.reading() as connection:
        return {DeviceId(row.device): int(row.n) for row in connection.execute(query)}


def _events(store: Store, query: Select[Any]) -> tuple[StoredEvent, ...]:
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return tuple(
        StoredEvent(
            row.id,
            DeviceId(row.device),
            row.kind,
            row.at_utc_s,
            row.severity,
            row.reason,
            _ref(row),
            row.order_id,
        )
        for row in rows
    )


def _of_bundle(query: Select[Any], bundle: BundleRef) -> Select[Any]:
    return query.where(WINDOWS.c.bundle == bundle.name, WINDOWS.c.version == bundle.version)


def _ref(row: Row[Any]) -> BundleRef | None:
    return None if row.bundle is None else BundleRef(row.bundle, row.version)


def _status(body: bytes) -> Status | None:
    try:
        return parse_as(Status, Channel.STATUS, body)
    except WireError:
        return None  # of a program version that this one no longer reads; the columns still stand
