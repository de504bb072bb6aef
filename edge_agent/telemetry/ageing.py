"""The bound on the age of what is in a spool.

Age is the time that the agent has run since the record was put: a device's clock may jump by years, and a night without
power ages nothing. It is noted in steps of a sixty-fourth of the bound, so a record may go a step late, and never goes
early.
"""

import logging
import math
from collections.abc import Callable
from typing import Final

from edge_agent.telemetry.spool_file import SpoolFile

AGE_STEPS: Final = 64

_MS_PER_S: Final = 1000
# Numbers of this name and a time in the life of the spool: the last sequence that was put until then.
_THROUGH_MS: Final = "put through "

_log = logging.getLogger(__name__)


class Ageing:
    """Gives up what is too old."""

    def __init__(self, file: SpoolFile, max_age_s: float, monotonic_s: Callable[[], float]) -> None:
        """Look at the clock for the first time.

        Args:
            file: has the records.
            max_age_s: bound on the time that the agent runs while a record waits.
            monotonic_s: tells that time.
        """
        self._file = file
        self._max_age_s = max_age_s
        self._monotonic_s = monotonic_s
        self._looked_at_s = monotonic_s()

    def expire(self, last_sequence: int) -> None:
        """Give up what is too old; note, once a step, through which record all had been put by then."""
        if self._max_age_s == math.inf:
            return
        now_s = self._monotonic_s()
        # That of the last `put`: when what is here now was put, at the latest.
        before_ms = self._file.number("lived_ms")
        lived_ms = before_ms + max(0, round((now_s - self._looked_at_s) * _MS_PER_S))
        self._looked_at_s = now_s
        self._file.set_number("lived_ms", lived_ms)
        step = int(lived_ms * AGE_STEPS // (self._max_age_s * _MS_PER_S))
        if step == self._file.number("age_step"):
            return
        self._file.set_number("age_step", step)
        self._file.set_number(f"{_THROUGH_MS}{before_ms}", last_sequence)
        passed = [
            (name, sequence)
            for name, sequence in self._file.fetch(
                "SELECT name, value FROM number WHERE name GLOB ?", (f"{_THROUGH_MS}*",)
            )
            if lived_ms - int(name.removeprefix(_THROUGH_MS)) >= self._max_age_s * _MS_PER_S
        ]
        for name, _ in passed:
            self._file.database.execute("DELETE FROM number WHERE name = ?", (name,))
        n_expired = self._file.delete_through(max((sequence for _, sequence in passed), default=0), "expired")
        if n_expired:
            _log.warning("%s: %d records were too old and are given up", self._file.path, n_expired)
