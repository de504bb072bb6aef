"""Carries a rollout out: reads what devices said, asks `steps` what to do, writes the order down, then sends it.

Every order is in the store before it is on the wire, so that a rollout that was interrupted anywhere goes on: what was
written and not sent is sent again, with the same order id, which a device takes as the same order.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from broker.errors import LinkError
from broker.messages import BundleRef, Desired, encode
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.clock import Clock
from trainer.monitoring.fleet import DeviceState, events_of_order, list_devices
from trainer.monitoring.ledger import (
    Order,
    list_orders,
    load_rollout,
    load_rollouts,
    mark_order_sent,
    ordered_devices,
    record_decision,
    record_order,
    save_rollout,
)
from trainer.monitoring.store import Store
from trainer.rollout.rings import assign_rings
from trainer.rollout.steps import COMMITTED, FAILED, PENDING, DeviceProgress, RolloutRules, Step, next_step

logger = logging.getLogger(__name__)

_OUTCOMES = {"committed": COMMITTED, "rolled_back": FAILED, "refused": FAILED}
_IDLE = "idle"


class Rollout(msgspec.Struct, frozen=True):
    """One rollout as it is kept.

    Attributes:
        order_id: of all its orders; the orders that take it back have ``<order_id>-back``.
        shares: growing shares of the fleet.
        devices: only these; None: the whole fleet, newcomers included.
        state: ``running``, ``done`` or ``halted``.
        reason: why it was begun.
        last_step: what was found at the last step.
        replaced_by: order id of a newer rollout that took its place before it was done: it was not taken back.
    """

    order_id: str
    bundle: BundleRef
    by: str
    reason: str
    shares: tuple[float, ...]
    rules: RolloutRules
    started_utc_s: float
    devices: tuple[DeviceId, ...] | None = None
    state: str = "running"
    last_step: str = ""
    ended_utc_s: float | None = None
    replaced_by: str = ""


class RolloutOperator:
    """Starts rollouts and moves them on; holds nothing but what the store holds."""

    def __init__(self, store: Store, fleet: FleetId, publish: Callable[[Topic, bytes], None], clock: Clock) -> None:
        """Give the operator what it works with.

        Args:
            store: whose devices and events are the evidence, and whose books the orders are written in.
            fleet: of the devices.
            publish: returns once the broker has the message, and raises LinkError otherwise.
            clock: for the times of orders.
        """
        self._store = store
        self._fleet = fleet
        self._publish = publish
        self._clock = clock

    def start(
        self,
        bundle: BundleRef,
        *,
        order_id: str,
        by: str,
        reason: str,
        shares: Sequence[float],
        rules: RolloutRules,
        devices: Sequence[DeviceId] | None = None,
    ) -> Rollout:
        """Begin a rollout; a rollout of this id that was begun before is returned as it stands.

        A rollout that is still running is ended: the newer order takes its place on the devices too.
        """
        known = self.load(order_id)
        if known is not None:
            return known
        now = self._clock.utc_s()
        for earlier in self.list():
            if earlier.state == "running":
                replaced = msgspec.structs.replace(earlier, replaced_by=order_id)
                self._end(replaced, "halted", f"a newer rollout took its place: {order_id}", now)
        rollout = Rollout(
            order_id,
            bundle,
            by,
            reason,
            tuple(shares),
            rules,
            now,
            None if devices is None else tuple(sorted(devices)),
        )
        self._save(rollout)
        return rollout

    def load(self, order_id: str) -> Rollout | None:
        """Return a rollout as it stands."""
        state = load_rollout(self._store, order_id)
        return None if state is None else msgspec.json.decode(state, type=Rollout)

    def list(self) -> tuple[Rollout, ...]:
        """Return all rollouts, the earliest first."""
        return tuple(msgspec.json.decode(state, type=Rollout) for state in load_rollouts(self._store))

    def target(self) -> BundleRef | None:
        """Return the bundle that the fleet should run: of the last rollout to the whole fleet that was done."""
        done = [r for r in self.list() if r.state == "done" and r.devices is None]
        return done[-1].bundle if done else None

    def step(self, order_id: str) -> Rollout:
        """Do what is to be done now, and return how the rollout stands.

        Without a link nothing is lost: the next step sends what this one could not.

        Raises:
            KeyError: there is no rollout of this id.
            StoreUnavailableError: try again later.
        """
        rollout = self.load(order_id)
        if rollout is None:
            raise KeyError(order_id)
        if rollout.state == "running":
            rollout = self._move_on(rollout)
        self._send_unsent()
        return rollout

    def greet_newcomers(self) -> None:
        """Order the fleet's bundle to devices that came after its rollout was done."""
        rollouts = self.list()
        done = [r for r in rollouts if r.state == "done" and r.devices is None]
        if done and not any(r.state == "running" for r in rollouts):
            ordered = ordered_devices(self._store)
            newcomers = [d for d in list_devices(self._store) if d.device not in ordered]
            self._order(done[-1], newcomers, "a newcomer takes the fleet's bundle")
        self._send_unsent()

    def _move_on(self, rollout: Rollout) -> Rollout:
        now = self._clock.utc_s()
        states = {
            state.device: state
            for state in list_devices(self._store)
            if rollout.devices is None or state.device in rollout.devices
        }
        progress = self._progress(rollout, states)
        if not states:
            return self._note(rollout, "waiting for the first device")
        rings = assign_rings(states, rollout.shares)
        step = next_step(rings, progress, rollout.rules, now)
        if step.kind == "order":
            self._decide(rollout, step, progress, now)
            self._order(rollout, [states[device] for device in step.devices], rollout.reason)
        elif step.kind == "halt":
            self._decide(rollout, step, progress, now)
            self._take_back(rollout, step)
            return self._end(rollout, "halted", step.reason, now)
        elif step.kind == "done":
            self._decide(rollout, step, progress, now)
            self._order_committed(rollout, states)
            return self._end(rollout, "done", step.reason, now)
        return self._note(rollout, step.reason)

    def _progress(self, rollout: Rollout, states: dict[DeviceId, DeviceState]) -> dict[DeviceId, DeviceProgress]:
        orders = {order.device: order for order in list_orders(self._store, order_id=rollout.order_id)}
        outcomes: dict[DeviceId, tuple[str, str]] = {}
        for event in events_of_order(self._store, rollout.order_id):
            if event.bundle == rollout.bundle and event.kind in _OUTCOMES:
                outcomes[event.device] = (_OUTCOMES[event.kind], event.reason)
        progress = {}
        for device, state in states.items():
            outcome, reason = outcomes.get(device, (PENDING, ""))
            if outcome == PENDING and state.bundle == rollout.bundle and state.update_state == _IDLE:
                # It runs the bundle already, committed under an earlier order: it will not say so again.
                outcome = COMMITTED
            order = orders.get(device)
            issued, sent = (order.issued_utc_s, order.sent_utc_s) if order else (None, None)
            progress[device] = DeviceProgress(outcome, state.online, issued, sent, reason)
        return progress

    def _order(self, rollout: Rollout, states: Sequence[DeviceState], reason: str) -> None:
        for state in states:
            self._record(rollout.order_id, state.device, rollout.bundle, state.bundle, rollout.by, reason)
        self._send_unsent()

    def _order_committed(self, rollout: Rollout, states: dict[DeviceId, DeviceState]) -> None:
        """Let the retained order of devices that ran the bundle already name it too."""
        ordered = {order.device for order in list_orders(self._store, order_id=rollout.order_id)}
        self._order(rollout, [s for device, s in states.items() if device not in ordered], rollout.reason)

    def _take_back(self, rollout: Rollout, step: Step) -> None:
        for order in list_orders(self._store, order_id=rollout.order_id):
            if order.before is None:
                logger.warning("%s ran no bundle before %s: nothing to go back to", order.device, rollout.bundle)
                continue
            reason = f"taking back {rollout.bundle}: {step.reason}"[:2000]
            self._record(f"{rollout.order_id}-back", order.device, order.before, rollout.bundle, rollout.by, reason)
        self._send_unsent()

    def _record(
        self, order_id: str, device: DeviceId, bundle: BundleRef, before: BundleRef | None, by: str, reason: str
    ) -> None:
        now = self._clock.utc_s()
        desired = Desired(bundle, order_id, now, by, reason[:2000])
        record_order(
            self._store, Order(order_id, device, "desired", bundle, before, by, reason, now, None, encode(desired))
        )

    def _send_unsent(self) -> None:
        """Publish written orders that the broker does not have yet; a device gets the newest of them only."""
        latest: dict[DeviceId, Order] = {}
        unsent = [order for order in list_orders(self._store, unsent=True) if order.kind == "desired"]
        for order in unsent:
            latest[order.device] = order
        for order in unsent:
            try:
                if latest[order.device] is order:
                    self._publish(Topic(self._fleet, order.device, Channel.DESIRED), order.body)
            except LinkError as error:
                logger.info("order to %s waits for a link: %s", order.device, error)
                return
            mark_order_sent(self._store, order, self._clock.utc_s())

    def _decide(self, rollout: Rollout, step: Step, progress: dict[DeviceId, DeviceProgress], now: float) -> None:
        record_decision(
            self._store,
            kind="rollout",
            at_utc_s=now,
            scope="fleet",
            verdict=step.kind,
            reason=f"{rollout.bundle}: {step.reason}",
            evidence={"order_id": rollout.order_id, "step": step, "progress": progress, "rules": rollout.rules},
        )

    def _end(self, rollout: Rollout, state: str, reason: str, now: float) -> Rollout:
        ended = msgspec.structs.replace(rollout, state=state, last_step=reason, ended_utc_s=now)
        self._save(ended)
        return ended

    def _note(self, rollout: Rollout, reason: str) -> Rollout:
        if rollout.last_step == reason:
            return rollout
        noted = msgspec.structs.replace(rollout, last_step=reason)
        self._save(noted)
        return noted

    def _save(self, rollout: Rollout) -> None:
        save_rollout(self._store, rollout.order_id, msgspec.json.encode(rollout))
