"""Says when to try again what failed: later after each failure, but never for the whole fleet at once."""

import random
from typing import Final

from edge_agent.clock import Clock
from edge_agent.settings import RepositorySettings

MAX_DOUBLINGS: Final = 16


class Retry:
    """The pauses between the attempts at one thing; used by one thread."""

    def __init__(self, settings: RepositorySettings, clock: Clock, rng: random.Random) -> None:
        """Have the first attempt due at once.

        Args:
            settings: the shortest and the longest pause.
            clock: monotonic for pauses.
            rng: chance for the pauses.
        """
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._at_s = 0.0
        self._failures = 0

    @property
    def is_due(self) -> bool:
        """Whether the pause is over."""
        return self._clock.monotonic_s() >= self._at_s

    @property
    def failures(self) -> int:
        """How many attempts failed in a row."""
        return self._failures

    def put_off(self) -> None:
        """Count a failure: pause, twice as long as after the one before it."""
        doublings = min(self._failures, MAX_DOUBLINGS)
        pause_s = min(self._settings.retry_max_s, self._settings.retry_min_s * 2.0**doublings)
        # Between half of the pause and all of it, so that a fleet does not come back at once.
        self._at_s = self._clock.monotonic_s() + pause_s * self._rng.uniform(0.5, 1.0)
        self._failures += 1

    def hurry(self) -> None:
        """End the pause: what the attempt lacked may be there."""
        self._at_s = self._clock.monotonic_s()

    def forget_failures(self) -> None:
        """Have the next pause be the shortest: an attempt went well, or the next ones are for another thing."""
        self._failures = 0
