"""How long signed metadata is believed, and when it is old."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from edge_agent.clock import Clock


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long each role's metadata is believed; the timestamp's bounds how long a stale mirror can go unnoticed.

    Attributes:
        targets: of the list of models and of each model's list of bundles.
    """

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=90)
    snapshot: timedelta = timedelta(days=7)
    timestamp: timedelta = timedelta(days=1)

    def of(self, role_type: str) -> timedelta:
        """Return the lifetime of a type of role."""
        return {"root": self.root, "targets": self.targets, "snapshot": self.snapshot}.get(role_type, self.timestamp)


DEFAULT_LIFETIMES: Final = Lifetimes()


def moment(clock: Clock) -> datetime:
    """Return now in UTC, in whole seconds: what metadata can say."""
    return datetime.fromtimestamp(clock.utc_s(), UTC).replace(microsecond=0)
