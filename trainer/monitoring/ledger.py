"""The books: every decision with its evidence, every order with its reason, and the states that survive a restart."""

import math
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Row, func, select

from broker.messages import BundleRef
from broker.topics import DeviceId, FleetId
from trainer.monitoring.store import Store, insert_once, upsert
from trainer.monitoring.tables import DECISIONS, ORDERS, ROLLOUTS, STORY


class Decision(msgspec.Struct, frozen=True):
    """One decision as it was taken.

    Attributes:
        scope: ``fleet``, or ``device:<name>``.
        evidence: JSON: all that the decision's function was given and found.
    """

    number: int
    kind: str
    at_utc_s: float
    scope: str
    verdict: str
    reason: str
    evidence: str


class Order(msgspec.Struct, frozen=True):
    """One order to one device: what, by whom, why, when, and what the device ran before.

    Attributes:
        kind: ``desired`` or ``command``.
        sent_utc_s: when the broker had it; None: not yet.
        body: the payload.
    """

    order_id: str
    device: DeviceId
    kind: str
    bundle: BundleRef | None
    before: BundleRef | None
    by: str
    reason: str
    issued_utc_s: float
    sent_utc_s: float | None
    body: bytes


def evidence_json(evidence: object) -> str:
    """Return evidence as JSON; what is not finite becomes null."""
    return msgspec.json.encode(_finite(msgspec.to_builtins(evidence))).decode()


def record_decision(
    store: Store, *, kind: str, at_utc_s: float, scope: str, verdict: str, reason: str, evidence: object
) -> None:
    """Write down a decision and what it rests on."""
    row = {
        "kind": kind,
        "at_utc_s": at_utc_s,
        "scope": scope,
        "verdict": verdict,
        "reason": reason,
        "evidence": evidence_json(evidence),
    }
    with store.writing() as connection:
        connection.execute(DECISIONS.insert(), [row])


def list_decisions(store: Store, *, kind: str | None = None) -> tuple[Decision, ...]:
    """Return the decisions, the earliest first."""
    query = select(DECISIONS).order_by(DECISIONS.c.id)
    if kind is not None:
        query = query.where(DECISIONS.c.kind == kind)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return tuple(Decision(r.id, r.kind, r.at_utc_s, r.scope, r.verdict, r.reason, r.evidence) for r in rows)


def record_order(store: Store, order: Order) -> None:
    """Write down an order before it is sent; the same order of the same device is written once."""
    record_orders(store, (order,))


def record_orders(store: Store, orders: Iterable[Order]) -> None:
    """Write down orders as `record_order` does: all of them, or none."""
    rows = [
        {
            "order_id": order.order_id,
            "device": order.device,
            "kind": order.kind,
            "bundle": order.bundle.name if order.bundle else None,
            "version": order.bundle.version if order.bundle else None,
            "before_bundle": order.before.name if order.before else None,
            "before_version": order.before.version if order.before else None,
            "by": order.by,
            "reason": order.reason,
            "issued_utc_s": order.issued_utc_s,
            "sent_utc_s": order.sent_utc_s,
            "body": order.body,
        }
        for order in orders
    ]
    with store.writing() as connection:
        insert_once(connection, ORDERS, rows)


def mark_order_sent(store: Store, order: Order, at_utc_s: float) -> None:
    """Write down that the broker has an order."""
    change = (
        ORDERS.update()
        .where(ORDERS.c.order_id == order.order_id, ORDERS.c.device == order.device)
        .values(sent_utc_s=at_utc_s)
    )
    with store.writing() as connection:
        connection.execute(change)


def list_orders(
    store: Store, *, order_id: str | None = None, device: DeviceId | None = None, unsent: bool = False
) -> tuple[Order, ...]:
    """Return orders, the earliest first: all, or those of one id or one device, or those that are not sent yet."""
    query = select(ORDERS).order_by(ORDERS.c.id)
    if order_id is not None:
        query = query.where(ORDERS.c.order_id == order_id)
    if device is not None:
        query = query.where(ORDERS.c.device == device)
    if unsent:
        query = query.where(ORDERS.c.sent_utc_s.is_(None))
    with store.reading() as connection:
        return tuple(_order(row) for row in connection.execute(query))


def ordered_devices(store: Store) -> frozenset[DeviceId]:
    """Return the devices that were ever ordered to run a bundle."""
    query = select(ORDERS.c.device).where(ORDERS.c.kind == "desired").distinct()
    with store.reading() as connection:
        return frozenset(DeviceId(row.device) for row in connection.execute(query))


def save_story(store: Store, fleet: FleetId, state: bytes) -> None:
    """Keep the state of a fleet's story."""
    with store.writing() as connection:
        upsert(connection, STORY, [{"fleet": fleet, "state": state.decode()}])


def load_story(store: Store, fleet: FleetId) -> bytes | None:
    """Return the state of a fleet's story as it was kept; None at the beginning."""
    with store.reading() as connection:
        state = connection.execute(select(STORY.c.state).where(STORY.c.fleet == fleet)).scalar()
    return None if state is None else str(state).encode()


def save_rollout(store: Store, order_id: str, state: bytes) -> None:
    """Keep the state of a rollout."""
    with store.writing() as connection:
        number = connection.execute(select(ROLLOUTS.c.number).where(ROLLOUTS.c.order_id == order_id)).scalar()
        if number is None:
            number = (connection.execute(select(func.max(ROLLOUTS.c.number))).scalar() or 0) + 1
        upsert(connection, ROLLOUTS, [{"order_id": order_id, "number": number, "state": state.decode()}])


def load_rollout(store: Store, order_id: str) -> bytes | None:
    """Return the state of a rollout as it was kept."""
    with store.reading() as connection:
        state = connection.execute(select(ROLLOUTS.c.state).where(ROLLOUTS.c.order_id == order_id)).scalar()
    return None if state is None else str(state).encode()


def load_rollouts(store: Store) -> tuple[bytes, ...]:
    """Return the states of all rollouts, the earliest first."""
    with store.reading() as connection:
        rows = connection.execute(select(ROLLOUTS.c.state).order_by(ROLLOUTS.c.number)).all()
    return tuple(row.state.encode() for row in rows)


def _order(row: Row[Any]) -> Order:
    return Order(
        row.order_id,
        DeviceId(row.device),
        row.kind,
        None if row.bundle is None else BundleRef(row.bundle, row.version),
        None if row.before_bundle is None else BundleRef(row.before_bundle, row.before_version),
        row.by,
        row.reason,
        row.issued_utc_s,
        row.sent_utc_s,
        row.body,
    )


def _finite(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
