"""Asks devices for labels: splits an ask over them, writes all parts down, and sends each once there is a link."""

import logging
from collections.abc import Callable

from broker.errors import LinkError
from broker.messages import AskLabels, Command, encode
from broker.topics import Channel, DeviceId, FleetId, Topic
from edge_agent.bundle import Manifest
from edge_agent.clock import Clock
from trainer.continuous.story import split_ask
from trainer.monitoring.ledger import Order, list_orders, mark_order_sent, record_orders
from trainer.monitoring.store import Store

logger = logging.getLogger(__name__)

BY = "monitor"
_EXPIRES_S = 24 * 3600.0
_MAX_ROWS = 1024
# One number takes at most 9 bytes on the wire; the rest is the row's name, time, prediction and reason.
_BYTES_A_VALUE, _BYTES_A_ROW = 9, 256
_LEAST_BYTES, _MOST_BYTES = 65536, 2**20


class Asking:
    """The asks of one fleet."""

    def __init__(self, store: Store, fleet: FleetId, publish: Callable[[Topic, bytes], None], clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._publish = publish
        self._clock = clock

    def ensure(
        self, ask_id: str, rows: int, devices: frozenset[DeviceId], manifest: Manifest, uncertain_share: float = 0.0
    ) -> None:
        """Ask devices for rows; an ask of this id that was written down before stands as it is.

        Args:
            ask_id: name of the ask.
            rows: of all devices together.
            devices: who is asked.
            manifest: of the bundle that they run.
            uncertain_share: of the rows that are chosen for what they are: those can teach and never judge.
        """
        if not devices or list_orders(self._store, order_id=ask_id):
            return
        parts = split_ask(rows, devices)
        # All parts or none: an ask that was cut off half-way would stand as it is, and some devices never be asked.
        record_orders(
            self._store,
            [self._order(ask_id, part, device, manifest, uncertain_share) for device, part in parts.items()],
        )
        self.send_unsent()

    def send_unsent(self) -> None:
        """Publish asks that were written down and not sent yet."""
        for order in list_orders(self._store, unsent=True):
            if order.kind != "command":
                continue
            try:
                self._publish(Topic(self._fleet, order.device, Channel.COMMAND), order.body)
            except LinkError as error:
                logger.info("ask to %s waits for a link: %s", order.device, error)
                return
            mark_order_sent(self._store, order, self._clock.utc_s())

    def _order(self, ask_id: str, part: int, device: DeviceId, manifest: Manifest, uncertain_share: float) -> Order:
        now = self._clock.utc_s()
        wanted = min(part, _MAX_ROWS)
        size_bytes = wanted * (_BYTES_A_ROW + _BYTES_A_VALUE * len(manifest.features))
        ask = AskLabels(ask_id, wanted, min(max(size_bytes, _LEAST_BYTES), _MOST_BYTES), uncertain_share)
        command = Command(f"{ask_id}.{device}", now + _EXPIRES_S, BY, ask)
        reason = f"{wanted} rows for labels"
        return Order(ask_id, device, "command", manifest.ref, None, BY, reason, now, None, encode(command))
