"""Keeps the record of updates on the disk, or in memory as long as the disk does not take it.

It decides nothing (``record``). Whatever changed is believed at once or not at all: who calls says which of the two,
because an act that may begin only when it is durable is not an act that must not wait for a disk.
"""

import logging

from broker.messages import BundleRef, Desired, Event
from edge_agent.clock import Clock
from edge_agent.update import record as transitions
from edge_agent.update.record import Record, SlotName
from edge_agent.update.slots import SlotStore

logger = logging.getLogger(__name__)


class Ledger:
    """What is true of the updates of one device; used by one thread, but for `record`, which any thread may read."""

    def __init__(self, store: SlotStore, clock: Clock) -> None:
        """Begin with an empty record.

        Args:
            store: where it becomes durable.
            clock: UTC for events.
        """
        self._store = store
        self._clock = clock
        self._record = Record()
        self._is_saved = True
        # Whether the disk has been seen to hold what was believed last.
        self._is_on_disk = False
        # The slot that says of itself that it was committed, and as which commit.
        self._marked: tuple[SlotName | None, int] = (None, 0)

    @property
    def record(self) -> Record:
        """Where the updates of this device stand."""
        return self._record

    @property
    def is_saved(self) -> bool:
        """Whether the record is on the disk as well; nothing is begun on one that is not."""
        return self._is_saved

    def find(self, record: Record) -> None:
        """Believe what was read from the disk, as it stands there; who wrote its events has logged them."""
        self._is_on_disk = True
        self._record = record

    def save(self, record: Record) -> None:
        """Make a record durable, then believe it.

        Raises:
            OSError: nothing has changed.
        """
        # Which of the two stands there is not known where this fails.
        self._is_on_disk = False
        self._store.save(record)
        self._is_saved = self._is_on_disk = True
        self._take(record)

    def believe(self, record: Record) -> None:
        """Believe a record, and make it durable as soon as the disk takes it: now, or in a later `catch_up`."""
        if record == self._record and self._is_on_disk and self._is_saved:
            return
        try:
            self.save(record)
        except OSError as error:
            logger.warning("the record of updates cannot be saved now: %s", error)
            self._is_saved = False
            self._take(record)

    def catch_up(self) -> None:
        """Make durable what is believed already, if it is not yet.

        Raises:
            OSError: it still is not.
        """
        if not self._is_saved:
            self.save(self._record)

    def mark_active(self) -> None:
        """Leave word in the active slot that it was committed, for the day when the record is lost.

        Raises:
            OSError: it does not say so yet.
        """
        record = self._record
        slot, content, number = record.roles.active, record.active, record.commits
        if slot is not None and content is not None and self._marked != (slot, number):
            self._store.mark_committed(slot, content, number)
            self._marked = (slot, number)

    def with_event(
        self,
        record: Record,
        kind: str,
        reason: str,
        *,
        severity: str = "info",
        bundle: BundleRef | None = None,
        order: Desired | None = None,
    ) -> Record:
        """Return a record with an event of what changed in it; both become durable together."""
        order = order or record.order
        event = Event(
            kind=kind,
            at_utc_s=self._clock.utc_s(),
            severity=severity,
            reason=reason[: transitions.MAX_REASON],
            bundle=bundle or (order.bundle if order is not None else None),
            order_id=order.order_id if order is not None else None,
        )
        return transitions.with_event(record, event)

    def refuse(self, reason: str) -> None:
        """Believe that the order under way is refused, and tell it."""
        changed = transitions.refused(self._record, reason)
        self.believe(self.with_event(changed, "refused", reason, severity="error", order=self._record.order))

    def _take(self, record: Record) -> None:
        news = [event for event in record.outbox if event not in self._record.outbox]
        self._record = record
        for event in news:
            level = {"info": logging.INFO, "warning": logging.WARNING}.get(event.severity, logging.ERROR)
            logger.log(level, "%s%s: %s", event.kind, f" {event.bundle}" if event.bundle else "", event.reason)
