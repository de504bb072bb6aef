"""Tells people of devices that send more than they may: counted in the store, an alert for each once an hour."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edge_agent.clock import Clock
from trainer.monitoring.alerts import Alert
from trainer.monitoring.rates import OverRate
from trainer.monitoring.store import Store, upsert
from trainer.monitoring.tables import REFUSED

if TYPE_CHECKING:
    from broker.topics import DeviceId

KIND: Final = "over_rate"
_EVERY_S: Final = 3600.0
# Of all channels together.
_CHANNEL: Final = "*"


class FloodReports:
    """What is known of floods in one fleet."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._told_s: dict[DeviceId, float] = {}

    def report(self, over: Sequence[OverRate]) -> tuple[Alert, ...]:
        """Count what was dropped as refused messages of its device; return the alerts that are due.

        Raises:
            StoreUnavailableError: the counts are lost; the devices that go on are counted again.
        """
        if not over:
            return ()
        now_utc_s, now_s = self._clock.utc_s(), self._clock.monotonic_s()
        rows = [
            {
                "device": device.device,
                "channel": _CHANNEL,
                "kind": KIND,
                "messages": device.messages,
                "last_utc_s": now_utc_s,
                "last_reason": _reason_of(device),
                "last_payload": b"",
            }
            for device in over
        ]
        with self._store.writing() as connection:
            upsert(connection, REFUSED, rows, add=("messages",))
        self._told_s = {device: at_s for device, at_s in self._told_s.items() if now_s - at_s < _EVERY_S}
        due = [device for device in over if device.device not in self._told_s]
        self._told_s.update((device.device, now_s) for device in due)
        return tuple(
            Alert(
                now_utc_s,
                "device_flood",
                f"device:{device.device}",
                f"{device.device} sends more than a device may: {_reason_of(device)}. Other devices are not harmed; "
                f"to end it: fieldloop device revoke {device.device}",
                {"messages": device.messages, "bytes": device.bytes},
            )
            for device in due
        )


def _reason_of(over: OverRate) -> str:
    return f"{over.messages} messages ({over.bytes} bytes) over its rate were dropped unread"
