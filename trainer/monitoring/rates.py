"""Decides which deliveries are over what one device may send, and counts them. Knows no store and no network.

A device that floods must not fill the monitor's queue, which all devices share. What is over is dropped before it is
queued and gets no mark: a device that means well (it comes back after weeks, with all that it kept) sends it again, and
the bucket has filled meanwhile. Labels are not the device's own words and are not counted against it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.topics import RULES, DeviceId, Topic, Writer

# One device takes about 150 bytes here.
_MAX_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What one device may send: a bucket of messages and one of bytes, each filled at a steady rate.

    The defaults let a device send a month of six windows an hour at once (4,320 windows, in packs of up to 16).

    Attributes:
        messages_per_s, burst_messages: of all channels together.
        bytes_per_s, burst_bytes: of their payloads.
    """

    messages_per_s: float = 100.0
    burst_messages: float = 5_000.0
    bytes_per_s: float = 1 << 20
    burst_bytes: float = 32 << 20


@dataclass(frozen=True, slots=True)
class OverRate:
    """A device that sent more than it may, since it was last asked for."""

    device: DeviceId
    messages: int
    bytes: int


@dataclass(slots=True)
class _Bucket:
    messages: float
    bytes: float
    at_s: float


class Rates:
    """The buckets of all devices; `takes` is called by one thread, `take_over_rate` by any."""

    def __init__(self, limit: RateLimit, monotonic_s: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[DeviceId, _Bucket] = OrderedDict()
        self._over: dict[DeviceId, OverRate] = {}
        self._lock = threading.Lock()

    def takes(self, topic: Topic, size_bytes: int) -> bool:
        """Tell whether a message is within its device's rate, and count it."""
        if RULES[topic.channel].writer is not Writer.DEVICE:
            return True
        bucket = self._filled(topic.device)
        if bucket.messages >= 1 and bucket.bytes >= size_bytes:
            bucket.messages -= 1
            bucket.bytes -= size_bytes
            return True
        self._count(topic.device, size_bytes)
        return False

    def take_over_rate(self) -> tuple[OverRate, ...]:
        """Return the devices that were over their rate since the last call."""
        with self._lock:
            over, self._over = self._over, {}
        return tuple(over.values())

    def _filled(self, device: DeviceId) -> _Bucket:
        now_s, limit = self._monotonic_s(), self._limit
        bucket = self._buckets.get(device)
        if bucket is None:
            bucket = self._buckets[device] = _Bucket(limit.burst_messages, limit.burst_bytes, now_s)
            # The one that was silent for longest: its bucket is the fullest.
            if len(self._buckets) > _MAX_REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            passed_s = max(0.0, now_s - bucket.at_s)
            bucket.messages = min(limit.burst_messages, bucket.messages + passed_s * limit.messages_per_s)
            bucket.bytes = min(limit.burst_bytes, bucket.bytes + passed_s * limit.bytes_per_s)
            bucket.at_s = now_s
            self._buckets.move_to_end(device)
        return bucket

    def _count(self, device: DeviceId, size_bytes: int) -> None:
        with self._lock:
            known = self._over.get(device, OverRate(device, 0, 0))
            self._over[device] = OverRate(device, known.messages + 1, known.bytes + size_bytes)
