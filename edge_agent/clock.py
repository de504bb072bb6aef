"""The two clocks: monotonic for durations, UTC for expiry and for people. The only place that reads them."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time; passed in, so that tests decide what time it is."""

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    def utc_s(self) -> float:
        """Return UTC seconds since 1970; on a device without a network this may be years off."""
        ...


class SystemClock:
    """The clocks of this machine: the functions themselves, as the scoring loop asks them for every row."""

    monotonic_s = staticmethod(time.monotonic)
    utc_s = staticmethod(time.time)
