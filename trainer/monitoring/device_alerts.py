"""Tells people of devices whose messages are refused, and of errors that devices tell of themselves.

Everything refused is counted where it is refused; here it becomes an alert: each device once an hour for each kind, and
one alert for all devices that are due at once, so that a fleet that goes wrong together is one message.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, select

from broker.topics import DeviceId
from edge_agent.clock import Clock
from trainer.monitoring import floods
from trainer.monitoring.alerts import Alert
from trainer.monitoring.store import Store
from trainer.monitoring.tables import EVENTS, REFUSED

_EVERY_S: Final = 3600.0
_LOOK_S: Final = 5.0
# Rows are committed a little after the time that stands in them.
_OVERLAP_S: Final = 60.0
_MOST_EVENTS: Final = 1000
_MOST_NAMED: Final = 10
_MOST_CHARACTERS: Final = 300
# Of all devices: a topic that does not follow the layout may name any.
_NOBODY: Final = DeviceId("")


class DeviceAlerts:
    """What was told of one fleet's devices; what the store holds already when it is made is not told again."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._began_utc_s = self._since_utc_s = clock.utc_s()
        self._due_s = clock.monotonic_s()
        self._topics = 0
        self._told_s: dict[tuple[str, DeviceId], float] = {}
        with store.reading() as connection:
            self._after = int(connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0)

    def look(self, refused_topics: int) -> tuple[Alert, ...]:
        """Return the alerts that are due.

        Args:
            refused_topics: how many messages the monitor's client has dropped because of their topic, since its start.

        Raises:
            StoreUnavailableError: look again later; nothing is forgotten.
        """
        now_s = self._clock.monotonic_s()
        if now_s < self._due_s:
            return ()
        refused, errors = self._refused(), self._errors()
        strange, self._topics = refused_topics - self._topics, refused_topics
        self._due_s = now_s + _LOOK_S
        self._told_s = {key: at_s for key, at_s in self._told_s.items() if now_s - at_s < _EVERY_S}
        topics = {_NOBODY: f"{strange} messages"} if strange > 0 else {}
        found = (
            self._alert("messages_refused", "Messages that cannot be read were refused", refused, now_s),
            self._alert("device_error", "Errors that devices tell of themselves", errors, now_s),
            self._alert(
                "topics_refused",
                "Messages under topics that do not follow the layout were dropped (a device may write its own name "
                "under a false shard; `fieldloop broker render --exact` closes that)",
                topics,
                now_s,
            ),
        )
        return tuple(alert for alert in found if alert is not None)

    def _refused(self) -> dict[DeviceId, str]:
        """Return of each device whose messages were refused since the last look why the last one was."""
        begin = max(self._began_utc_s, self._since_utc_s - _OVERLAP_S)
        query = (
            select(REFUSED.c.device, REFUSED.c.channel, REFUSED.c.last_utc_s, REFUSED.c.last_reason)
            .where(REFUSED.c.last_utc_s >= begin, REFUSED.c.kind != floods.KIND)
            .order_by(REFUSED.c.last_utc_s)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        if rows:
            self._since_utc_s = rows[-1].last_utc_s
        return {DeviceId(row.device): f"{row.channel}: {row.last_reason}" for row in rows}

    def _errors(self) -> dict[DeviceId, str]:
        """Return of each device that told an error since the last look the last one; an order's are the rollout's."""
        query = (
            select(EVENTS.c.id, EVENTS.c.device, EVENTS.c.reason)
            .where(EVENTS.c.id > self._after, EVENTS.c.severity == "error", EVENTS.c.order_id.is_(None))
            .order_by(EVENTS.c.id)
            .limit(_MOST_EVENTS)
        )
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        if rows:
            self._after = rows[-1].id
        return {DeviceId(row.device): row.reason for row in rows}

    def _alert(self, kind: str, what: str, found: Mapping[DeviceId, str], now_s: float) -> Alert | None:
        due = {device: _plain(reason) for device, reason in found.items() if (kind, device) not in self._told_s}
        if not due:
            return None
        self._told_s.update(((kind, device), now_s) for device in due)
        named = [f"{device}: {reason}" if device else reason for device, reason in list(due.items())[:_MOST_NAMED]]
        more = f"; and {len(due) - _MOST_NAMED} more devices" if len(due) > _MOST_NAMED else ""
        (first, *others) = due
        scope = f"device:{first}" if first and not others else "fleet"
        text = f"{what}. {'; '.join(named)}{more}. Counts: fieldloop devices"
        return Alert(self._clock.utc_s(), kind, scope, text, {"devices": len(due), "told": named})


def _plain(reason: str) -> str:
    """Return what a device wrote as one line that steers no terminal and no chat."""
    return "".join(character if character.isprintable() else "?" for character in reason)[:_MOST_CHARACTERS]
