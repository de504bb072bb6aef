"""A receiver that sees a device's mistakes: a record that is not what was promised, one name for two records."""

from collections.abc import Callable
from typing import Final

from broker.client import Endpoint
from broker.messages import Event, RecordKey, Samples, TelemetryWindow, encode_body
from tests.crash.recorded_agent import body_hash
from tests.receiver import Key, Receiver

DEVICE: Final = "one"


class Witness(Receiver):
    """Stores records as any receiver does, and remembers what they were.

    Attributes:
        hashes: of the bodies that came first.
        positions: where the log ended when each came first.
        conflicts: names under which another body came later.
    """

    def __init__(self, endpoint: Endpoint, fleet: str = "test", position: Callable[[], int] = lambda: 0) -> None:
        """Describe it; ``position`` tells how long the log of operations is."""
        super().__init__(endpoint, fleet)
        self._position = position
        self.hashes: dict[Key, str] = {}
        self.positions: dict[Key, int] = {}
        self.conflicts: list[Key] = []

    def remember(self, other: "Witness", position: int) -> None:
        """Take over what another one had stored when the log was so long."""
        for key in sorted(other.records):
            if other.positions[key] <= position:
                record, body = other.records[key]
                self._store_record(key.device, record, body)

    def _store_record(self, device: str, key: RecordKey, body: TelemetryWindow | Samples | Event) -> None:
        place, hashed = Key(device, key.epoch, key.sequence), body_hash(encode_body(body))
        if self.hashes.setdefault(place, hashed) != hashed:
            self.conflicts.append(place)
        self.positions.setdefault(place, self._position())
        super()._store_record(device, key, body)
