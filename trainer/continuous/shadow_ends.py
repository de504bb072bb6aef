"""Hears from devices that a shadow has ended by itself, and tells the registry: it may be no challenger any more.

What was heard before the monitor was started is gone through again: an end names the order that began it, so that one
that was written down already, or whose device has begun another shadow since, changes nothing.
"""

import logging
from collections.abc import Callable
from typing import Final

from sqlalchemy import select

from edge_agent.clock import Clock
from edge_agent.update.shadows import ENDED, KIND
from trainer.errors import TrainerError
from trainer.monitoring.store import Store
from trainer.monitoring.tables import EVENTS
from trainer.registry.challenger import end_shadows
from trainer.registry.registry import Registry

logger = logging.getLogger(__name__)

LOOK_S: Final = 15.0
# A short shadow may end before whoever ordered it has named the challenger: ends are told for a while.
_AGAIN_S: Final = 300.0
_MOST_EVENTS: Final = 1000


class ShadowEnds:
    """The ends of shadows of one fleet."""

    def __init__(self, store: Store, name: str, open_registry: Callable[[], Registry], clock: Clock) -> None:
        """Give it the fleet's database, the name of the model, its registry, and the time."""
        self._store = store
        self._name = name
        self._open_registry = open_registry
        self._clock = clock
        self._after = 0
        self._due_s = clock.monotonic_s()

    def look(self) -> tuple[int, ...]:
        """Return the versions that are challenger no more, since the last look.

        Raises:
            StoreUnavailableError: look again later; nothing is forgotten.
        """
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return ()
        self._due_s = now_s + LOOK_S
        query = (
            select(EVENTS.c.id, EVENTS.c.device, EVENTS.c.order_id, EVENTS.c.received_utc_s)
            .where(EVENTS.c.id > self._after, EVENTS.c.kind == KIND, EVENTS.c.bundle == self._name)
            .where(EVENTS.c.reason.startswith(ENDED, autoescape=True), EVENTS.c.order_id.is_not(None))
            .order_by(EVENTS.c.id)
            .limit(_MOST_EVENTS)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return ()
        try:
            ended = end_shadows(self._open_registry(), self._name, {(row.device, row.order_id) for row in rows})
        except TrainerError as error:
            # A registry that is away is nothing for people: it is told at the next look.
            logger.info("the ends of %d shadows wait for the registry: %s", len(rows), error)
            return ()
        old_utc_s = self._clock.utc_s() - _AGAIN_S
        self._after = max((row.id for row in rows if row.received_utc_s < old_utc_s), default=self._after)
        return ended
