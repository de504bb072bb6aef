"""Tells which devices are two processes: one identity has one link, so that they end each other's by turns.

Each start of an agent has a name of its own (`Status.boot_id`). A start that speaks again after another one spoke is
no restart: both run. Old messages that a broker delivers again are told by their time. Knows no store and no network.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.messages import Status
from broker.topics import DeviceId
from edge_agent.clock import Clock
from trainer.monitoring.alerts import Alert

_MAX_REMEMBERED: Final = 20_000
_EVERY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Double:
    """Two starts of an agent that both speak for one device."""

    device: DeviceId
    boots: tuple[str, str]


@dataclass(slots=True)
class _Spoken:
    """Which start spoke last, and which before it; when by the device's own clock."""

    boot_id: str
    at_utc_s: float
    before_id: str = ""
    before_utc_s: float = 0.0


class Doubles:
    """What the starts of all devices said; `see` is called by one thread, `take` by any."""

    def __init__(self) -> None:
        self._spoken: OrderedDict[DeviceId, _Spoken] = OrderedDict()
        self._found: dict[DeviceId, Double] = {}
        self._lock = threading.Lock()

    def see(self, device: DeviceId, status: Status) -> None:
        """Take note of who speaks for a device; a last will is nobody's word."""
        if not status.online:
            return
        known = self._spoken.get(device)
        if known is None:
            self._spoken[device] = _Spoken(status.boot_id, status.at_utc_s)
            if len(self._spoken) > _MAX_REMEMBERED:
                self._spoken.popitem(last=False)
            return
        self._spoken.move_to_end(device)
        if status.boot_id == known.boot_id:
            known.at_utc_s = max(known.at_utc_s, status.at_utc_s)
            return
        if status.boot_id == known.before_id:
            if status.at_utc_s <= known.before_utc_s:
                return
            with self._lock:
                self._found[device] = Double(device, (known.boot_id, status.boot_id))
        known.before_id, known.before_utc_s = known.boot_id, known.at_utc_s
        known.boot_id, known.at_utc_s = status.boot_id, status.at_utc_s

    def take(self) -> tuple[Double, ...]:
        """Return the devices that were found to be two since the last call."""
        with self._lock:
            found, self._found = self._found, {}
        return tuple(found.values())


class DoubleReports:
    """Tells people of doubles, of each device once an hour."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told_s: dict[DeviceId, float] = {}

    def report(self, doubles: Sequence[Double]) -> tuple[Alert, ...]:
        """Return the alerts that are due."""
        now_s = self._clock.monotonic_s()
        self._told_s = {device: at_s for device, at_s in self._told_s.items() if now_s - at_s < _EVERY_S}
        due = [double for double in doubles if double.device not in self._told_s]
        self._told_s.update((double.device, now_s) for double in due)
        return tuple(
            Alert(
                self._clock.utc_s(),
                "device_double",
                f"device:{double.device}",
                f"two agents speak for {double.device} (starts {' and '.join(double.boots)}) and end each other's "
                f"link: stop one, or give it an identity of its own by fieldloop device add; if it is a copy that "
                f"nobody knows, fieldloop device rotate {double.device}",
                {"boots": list(double.boots)},
            )
            for double in due
        )
