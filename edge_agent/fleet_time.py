"""The time that certificates are compared with: the enrolment server's, once it told it, else the device's own.

A board without a clock starts in 1970, or where its card was written. Its own clock is never set from here: that is the
system's affair, and what it says of rows stays what it was.
"""

import threading

from edge_agent.clock import Clock


class FleetTime:
    """Tells the time; any thread may ask."""

    def __init__(self, clock: Clock, floor_s: float = 0.0) -> None:
        """Begin with the device's clock.

        Args:
            clock: of the device.
            floor_s: a moment that has certainly passed; an earlier time is never told.
        """
        self._clock = clock
        self._lock = threading.Lock()
        self._floor_s = floor_s
        # UTC less the monotonic clock: holds while the device runs, however its own clock is set meanwhile.
        self._offset_s: float | None = None
        self._learnt_at_s = 0.0

    def utc_s(self) -> float:
        """Return UTC seconds."""
        with self._lock:
            if self._offset_s is not None:
                return self._clock.monotonic_s() + self._offset_s
            return max(self._clock.utc_s(), self._floor_s)

    def learn(self, utc_s: float) -> None:
        """Take the time that a server told just now."""
        with self._lock:
            self._learnt_at_s = self._clock.monotonic_s()
            self._offset_s = utc_s - self._learnt_at_s
            self._floor_s = max(self._floor_s, utc_s)

    @property
    def is_behind(self) -> bool:
        """Whether the device's clock is before a moment that has certainly passed."""
        return self._clock.utc_s() < self._floor_s

    def learnt_within(self, seconds: float) -> bool:
        """Whether a server told the time within so many seconds."""
        with self._lock:
            return self._offset_s is not None and self._clock.monotonic_s() - self._learnt_at_s < seconds
